"""Engines, evidence and the one function that fits."""
