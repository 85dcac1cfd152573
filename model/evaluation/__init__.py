"""Comparing results with the truth."""
