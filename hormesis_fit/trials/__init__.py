"""Trials: tables in, simulated and shipped ones beside them."""
