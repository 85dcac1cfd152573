"""Trying a request again when the service says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_RETRIED = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})


def send_patiently(send: Callable[[], httpx.Response], patience_s: float) -> httpx.Response:
    """Send a request, and again while it is answered 429 or 503 with a `Retry-After` (RFC 9110, 10.2.3).

    Such an answer says that nothing was done, so that any request may be repeated.

    Args:
        send: sends it, from the start each time.
        patience_s: seconds that all waiting together may take.

    Returns:
        The last answer.
    """
    deadline = time.monotonic() + patience_s
    while True:
        response = send()
        wait_s = _wait_of(response)
        if wait_s is None or time.monotonic() + wait_s > deadline:
            return response
        response.close()
        time.sleep(wait_s)


def _wait_of(response: httpx.Response) -> float | None:
    """Give the seconds an answer asks to wait, or None when it is not to be repeated."""
    text = response.headers.get("retry-after", "").strip()
    if response.status_code not in _RETRIED or not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
