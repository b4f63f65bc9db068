"""Thousands of curves: batches, workers, stores and false discoveries."""
