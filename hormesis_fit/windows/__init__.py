"""From posterior draws to the window, and whatever else is read off them."""
