"""A service with webhooks, short retention and small batches, shared by the tests of these."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from service_fixtures import Service
from webhook_receiver import SECRET

SETTINGS = {
    "COCHLEAR_WEBHOOK_SECRET": SECRET,
    "COCHLEAR_WEBHOOK_ALLOW": "127.0.0.0/8",
    "COCHLEAR_WEBHOOK_RETRY_S": "0.2",
    "COCHLEAR_WEBHOOK_ATTEMPTS": "4",
    "COCHLEAR_RETENTION_S": "3600",
    "COCHLEAR_FORGET_AFTER_S": "3",
    "COCHLEAR_MAX_UPLOAD_BYTES": "2000000",
    "COCHLEAR_MAX_BATCH_ITEMS": "6",
    "COCHLEAR_MAX_BATCH_BYTES": "4000000",
}


def mentions(service: Service, word: str) -> list[str]:
    """Give all Redis keys, and all files of the data folder, that mention a word in name or content.

    The append-only file of the Redis server, a log of commands that the server rewrites by itself, is not looked into.
    """
    redis: Any = service.store._redis
    found = [name for name in redis.scan_iter() if word in name or word in _content(redis, name)]
    files = [path for path in service.data_dir.rglob("*") if "redis" not in path.relative_to(service.data_dir).parts]
    return found + [str(path) for path in files if word in str(path) or _holds(path, word)]


def _content(redis: Any, name: str) -> str:  # noqa: ANN401
    """Give the whole value of a key as text; messages of the broker are decoded."""
    kind = redis.type(name)
    reads: dict[str, Any] = {
        "string": lambda: redis.get(name),
        "hash": lambda: redis.hgetall(name),
        "list": lambda: redis.lrange(name, 0, -1),
        "set": lambda: redis.smembers(name),
        "zset": lambda: redis.zrange(name, 0, -1),
        "stream": lambda: redis.xrange(name),
        "none": lambda: "",
    }
    text = str(reads[kind]())
    bodies = [part for part in text.split('"') if len(part) > 60 and part.isascii()]
    return text + "".join(_decoded(part) for part in bodies)


def _decoded(text: str) -> str:
    """Give what a base64 text says, or nothing when it is none."""
    try:
        return base64.b64decode(text, validate=True).decode("latin-1")
    except ValueError:
        return ""


def _holds(path: Path, word: str) -> bool:
    """Whether a file contains a word."""
    return path.is_file() and word.encode() in path.read_bytes()
