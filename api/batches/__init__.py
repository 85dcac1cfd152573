"""Several ears in one request."""
