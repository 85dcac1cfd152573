"""Aliases of model bundles, kept in Redis: `default` and others point to a bundle, and elsewhere at any time.

An alias holds the digest of its bundle, so that a folder that was replaced on disk is noticed instead of used.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from worker.redis_connection import key
from worker.settings import Settings

DEFAULT_ALIAS = "default"
_ALIASES = key("aliases")
_HISTORY_LENGTH = 50


class Alias(BaseModel):
    """What an alias points to.

    Attributes:
        name: the alias.
        bundle: name of the bundle.
        digest: SHA-256 of the bundle's manifest when the alias was set.
        since: when it was set (clock of the Redis server).
        by: id of the API key that set it, or None.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    bundle: str
    digest: str
    since: datetime
    by: str | None = None


class AliasStore:
    """The aliases of one service.

    Args:
        redis: a connection.
    """

    def __init__(self, redis: Any) -> None:  # noqa: ANN401  (redis-py does not type its commands usefully)
        """Keep the connection."""
        self._redis = redis

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def default_bundle(self, settings: Settings) -> str:
        """Give the name of the bundle of jobs that name none."""
        alias = self.get(DEFAULT_ALIAS)
        return settings.bundle if alias is None else alias.bundle

    def get(self, name: str) -> Alias | None:
        """Give an alias, or None when it is not set."""
        raw = self._redis.hget(_ALIASES, name)
        return None if raw is None else Alias.model_validate_json(raw)

    def all(self) -> list[Alias]:
        """Give all aliases by name."""
        found = self._redis.hgetall(_ALIASES)
        return [Alias.model_validate_json(found[name]) for name in sorted(found)]

    def point(self, name: str, bundle: str, digest: str, by: str | None) -> Alias:
        """Point an alias to a bundle; jobs that were accepted before keep theirs."""
        seconds, microseconds = self._redis.time()
        since = datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)
        alias = Alias(name=name, bundle=bundle, digest=digest, since=since, by=by)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_ALIASES, name, alias.model_dump_json())
            pipe.lpush(_history(name), alias.model_dump_json())
            pipe.ltrim(_history(name), 0, _HISTORY_LENGTH - 1)
            pipe.execute()
        return alias

    def drop(self, name: str) -> bool:
        """Take an alias away, its history kept; tell whether it was set."""
        return bool(self._redis.hdel(_ALIASES, name))

    def history(self, name: str) -> list[Alias]:
        """Give what an alias has pointed to, latest first."""
        return [Alias.model_validate_json(raw) for raw in self._redis.lrange(_history(name), 0, -1)]


def _history(name: str) -> str:
    """Give the key of an alias's history."""
    return key("alias-history", name)
