"""Telling other services how jobs end: signed, repeated until taken, and never into private networks."""
