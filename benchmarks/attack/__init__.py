"""Attacks on a running service: mutated uploads, many clients at once."""
