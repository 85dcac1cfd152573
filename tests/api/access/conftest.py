"""The service that asks for keys, and its keys, for all tests of this folder."""

from access_fixtures import as_key, key_a, key_admin, key_b, key_reader, locked

__all__ = ["as_key", "key_a", "key_admin", "key_b", "key_reader", "locked"]
