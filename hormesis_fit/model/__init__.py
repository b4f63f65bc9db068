"""From a trial and its curves to a PyMC model."""
