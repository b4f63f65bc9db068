"""The report, its tables and the recipe to repeat a fit."""
