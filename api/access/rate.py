"""How many requests a caller may send; counted in Redis, so that all API processes count together."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from api.problems import ServiceError
from worker.redis_connection import async_pool, key

_WINDOW_S = 10
_CONNECTIONS = 16


class RateLimit:
    """A rate, averaged over ten seconds by a sliding window, whose clock is that of the Redis server.

    Args:
        redis_url: address of the server.
        per_second: requests a second.
    """

    def __init__(self, redis_url: str, per_second: float) -> None:
        """Prepare the connection; it is made when first used."""
        # The library names Unix sockets in its own way.
        url = redis_url.replace("unix://", "redis+unix://", 1) if redis_url.startswith("unix://") else redis_url
        self._storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix=key("rate"),
            # A burst waits its turn; the library's own pool would fail what comes while all connections are in use.
            connection_pool=async_pool(redis_url, _CONNECTIONS),  # type: ignore[arg-type]  # its types forget it
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._item = RateLimitItemPerSecond(max(1, round(per_second * _WINDOW_S)), _WINDOW_S)
        self._per_second = per_second

    async def count(self, caller: str) -> None:
        """Count a request.

        Args:
            caller: who sends it, the same name for all requests that count together.

        Raises:
            ServiceError: when there were too many; the request is not counted then.
            RedisError: when the server is away.
        """
        if await self._limiter.hit(self._item, caller):
            return
        stats = await self._limiter.get_window_stats(self._item, caller)
        wait_s = min(_WINDOW_S, max(1, math.ceil(stats.reset_time - time.time())))
        raise ServiceError(
            "too-many-requests",
            "Too many requests",
            "this caller sends more requests than one may",
            expected=f"at most {self._per_second:g} a second, averaged over {_WINDOW_S} s",
            found="more",
            retry_after_s=wait_s,
        )

    async def close(self) -> None:
        """Close the connections."""
        bridge = self._storage.bridge
        if isinstance(bridge, RedispyBridge):
            await bridge.storage.aclose()
