"""The connection to Redis and the names of keys, the same for every part that keeps something there."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.retry import Retry

PREFIX = "cochlear:"
"""What all keys of the service begin with, so that it can share a server."""


def connect(redis_url: str) -> Any:  # noqa: ANN401  (redis-py does not type its commands usefully)
    """Give a connection pool to the server; a connection is made when first used.

    Args:
        redis_url: `redis://`, `rediss://` or `unix://` address.

    The client never repeats a command by itself: one whose reply was lost may have been executed, and only who sent it
    knows whether it may be sent again.
    """
    retry = Retry(NoBackoff(), 0)
    return Redis.from_url(redis_url, decode_responses=True, socket_timeout=10, socket_connect_timeout=5, retry=retry)


def connect_async(redis_url: str, connections: int) -> Any:  # noqa: ANN401
    """Give a pool for one event loop: who finds all its connections in use waits for one.

    Args:
        redis_url: `redis://`, `rediss://` or `unix://` address.
        connections: how many at most.
    """
    pool = BlockingConnectionPool.from_url(
        redis_url,
        max_connections=connections,
        timeout=10,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
    )
    return AsyncRedis(connection_pool=pool)


def key(*parts: str) -> str:
    """Give the full name of a key."""
    return PREFIX + ":".join(parts)
