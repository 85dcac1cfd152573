"""Synthetic CT of ears with known truth: anatomy, tissue, scanner and cochlear implant, from a seed."""
