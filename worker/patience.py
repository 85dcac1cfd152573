"""Waiting for a Redis server that is away: being restarted, reading its file, or out of disk space."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_PASSING_ANSWERS = ("MISCONF", "LOADING", "READONLY", "MASTERDOWN", "OOM")
"""Beginnings of the error replies that say "not now": https://redis.io/docs/latest/develop/reference/protocol-spec/."""

Answer = TypeVar("Answer")


def is_passing(error: RedisError) -> bool:
    """Tell whether an error says that the server is away or takes no writes now, rather than that the call is wrong."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return True
    return isinstance(error, ResponseError) and str(error).startswith(_PASSING_ANSWERS)


def patiently(call: Callable[[], Answer], patience_s: float) -> Answer:
    """Call until the server answers.

    Args:
        call: may be called again although an earlier call was executed and only its reply was lost.
        patience_s: for how long; 0 calls once.

    Raises:
        RedisError: when the call is wrong, or the server still is away at the end.
    """
    deadline = time.monotonic() + patience_s
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return call()
        except RedisError as error:
            if not is_passing(error) or time.monotonic() + pause > deadline:
                raise
            if pause == _FIRST_PAUSE_S:
                _log.warning("Redis is away (%s); waiting for it", type(error).__name__)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
