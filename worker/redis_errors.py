"""Why Redis cannot be used, in words that hold no address and no password."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError


def reason(error: BaseException) -> str:
    """Give why Redis takes no writes, as the end of a sentence that begins with its name."""
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted ({tls.verify_message.rstrip('.')})"
    if tls is not None:
        return "does not agree on TLS"
    return next((words for applies, words in REASONS if applies(error)), f"takes no writes ({type(error).__name__})")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Give the error of TLS that led to another, or None."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _says(error: BaseException, *words: str) -> bool:
    """Tell whether a server's answer begins with one of these words."""
    return isinstance(error, ResponseError | RedisConnectionError) and str(error).upper().startswith(words)


REASONS: tuple[tuple[Callable[[BaseException], bool], str], ...] = (
    (lambda error: isinstance(error, AuthenticationError), "refuses the password, or wants one"),
    (lambda error: _says(error, "NOAUTH", "WRONGPASS"), "refuses the password, or wants one"),
    (lambda error: isinstance(error, NoPermissionError), "does not let this user write"),
    (lambda error: isinstance(error, ReadOnlyError), "is a read-only replica"),
    (lambda error: isinstance(error, OutOfMemoryError), "has no memory left for writes"),
    (lambda error: isinstance(error, BusyLoadingError), "still reads its file"),
    (lambda error: isinstance(error, ResponseError) and "MISCONF" in str(error), "cannot write to its own disk"),
    (lambda error: isinstance(error, RedisTimeoutError), "does not answer in time"),
    (lambda error: isinstance(error, RedisConnectionError), "cannot be reached"),
)
"""What kinds of errors mean, the first that applies."""
