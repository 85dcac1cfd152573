"""The connection to Redis and the names of keys, the same for every part that keeps something there."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.retry import Retry

PREFIX = "cochlear:"
"""What all keys of the service begin with, so that it can share a server."""


_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def check_address(redis_url: str) -> None:
    """Refuse an address that cannot be meant, before anything is connected.

    Raises:
        ValueError: it is of no known kind, has parameters other than the files of TLS, or such a file is not there.
            The words never quote the address, which may hold a password.
    """
    address = urlsplit(redis_url)
    if address.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    for name, value in parse_qsl(address.query, keep_blank_values=True):
        if address.scheme != "rediss" or name not in _TLS_FILES:
            raise ValueError(f"may have the parameters {', '.join(_TLS_FILES)} with rediss:// and no others")
        if not Path(value).is_file():
            raise ValueError(f"names a file as {name} that is not there")


def broker_address(redis_url: str) -> tuple[str, dict[str, Any] | None]:
    """Give an address in the spelling of kombu, Celery's transport, and its options of TLS; None without TLS.

    kombu names Unix sockets in its own way, and checks no certificate unless told to.
    """
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://"), None
    address = urlsplit(redis_url)
    if address.scheme != "rediss":
        return redis_url, None
    options = dict(parse_qsl(address.query))
    checks = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    return urlunsplit(address._replace(query="")), {**options, **checks}


def connect(redis_url: str, timeout_s: float | None = None) -> Any:  # noqa: ANN401  (redis-py does not type its commands usefully)
    """Give a connection pool to the server; a connection is made when first used.

    Args:
        redis_url: `redis://`, `rediss://` or `unix://` address. With `rediss://` the server must show a certificate for
            its name, from an authority of the system or of the file that the parameter `ssl_ca_certs` names.
        timeout_s: for connecting and for each answer; None for 5 and 10 seconds.

    The client never repeats a command by itself: one whose reply was lost may have been executed, and only who sent it
    knows whether it may be sent again.
    """
    return Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=timeout_s or 10,
        socket_connect_timeout=timeout_s or 5,
        retry=Retry(NoBackoff(), 0),
    )


def connect_async(redis_url: str, connections: int) -> Any:  # noqa: ANN401
    """Give a client for one event loop; see `async_pool`."""
    return AsyncRedis(connection_pool=async_pool(redis_url, connections, decode_responses=True))


def async_pool(redis_url: str, connections: int, **options: Any) -> BlockingConnectionPool:  # noqa: ANN401
    """Give a pool for one event loop: who finds all its connections in use waits for one.

    Args:
        redis_url: as for `connect`.
        connections: how many at most.
        **options: further ones of redis-py.
    """
    return BlockingConnectionPool.from_url(
        redis_url, max_connections=connections, timeout=10, socket_timeout=10, socket_connect_timeout=5, **options
    )


def key(*parts: str) -> str:
    """Give the full name of a key."""
    return PREFIX + ":".join(parts)
