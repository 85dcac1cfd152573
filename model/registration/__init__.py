"""Displacement fields and what they do to points; importing its modules imports torch."""
