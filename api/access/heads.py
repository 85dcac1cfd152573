"""The cap on the head of a request."""

from __future__ import annotations

from starlette.types import Scope

from api.problems import ServiceError

MAX_HEAD_BYTES = 16 * 1024
"""Cap on the address and all header fields together."""


def check_head(scope: Scope) -> None:
    """Check the size of a head; the server itself checks one only while it is incomplete.

    Raises:
        ServiceError: when it is over the cap.
    """
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    if fields + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_HEAD_BYTES:
        raise head_too_large()


def head_too_large() -> ServiceError:
    """Give the error for a head over the cap."""
    return ServiceError(
        "head-too-large",
        "The head of the request is too large",
        "address and header fields are too long",
        expected=f"at most {MAX_HEAD_BYTES} bytes",
        found="more",
    )
