"""The comparison of methods over sets of ears with known truth, in one command."""
