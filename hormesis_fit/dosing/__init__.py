"""Doses in time, and what the body makes of them."""
