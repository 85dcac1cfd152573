"""What log lines say about whose work they are: the request and the job at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Name of the request that is handled, or that submitted the job at hand."""
TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""W3C trace context of that request."""
JOB_ID: ContextVar[str | None] = ContextVar("job_id", default=None)
"""The job at hand."""


@contextmanager
def bound(
    *, request_id: str | None = None, traceparent: str | None = None, job_id: str | None = None
) -> Iterator[None]:
    """Log what happens inside with these names; each is set, None included."""
    given = ((REQUEST_ID, request_id), (TRACEPARENT, traceparent), (JOB_ID, job_id))
    tokens = [(variable, variable.set(value)) for variable, value in given]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)
