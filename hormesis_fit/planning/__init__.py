"""What to measure next, and designs before any data."""
