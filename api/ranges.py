"""Parts of a file: the `Range` and `If-Range` headers (RFC 9110, section 14) and `Repr-Digest` (RFC 9530)."""

from __future__ import annotations

import base64
import re

from fastapi import Request

from api.problems import ServiceError

# A number of more digits than any file has bytes is malformed here, and is ignored as such.
_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})[ \t]*-[ \t]*(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


def requested_range(request: Request, size: int, tag: str) -> tuple[int, int] | None:
    """Give the part of a file that a request wants.

    Several ranges, other units and malformed values are ignored, as the RFC allows, and so is a range whose `If-Range`
    names another representation.

    Args:
        request: the request.
        size: bytes of the whole file.
        tag: its strong entity tag, in quotes.

    Returns:
        First byte and the byte after the last, or None for all of it.

    Raises:
        ServiceError: when no byte of the range exists.
    """
    condition = request.headers.get("if-range")
    match = _ONE_RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or not (match[1] or match[2]) or (condition is not None and condition.strip() != tag):
        return None
    first, last = match[1], match[2]
    if first and last and int(last) < int(first):
        return None
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if begin >= end:
        raise ServiceError(
            "range-not-satisfiable",
            "The range lies outside the file",
            "no byte of the range exists",
            expected=f"a range within {size} bytes",
            found=ascii(match[0][:80]),
            headers={"Content-Range": f"bytes */{size}"},
        )
    return begin, end


def repr_digest(sha256: str) -> str:
    """Give the value of `Repr-Digest`: the digest of the whole file as a byte sequence of RFC 9651.

    Args:
        sha256: in hexadecimal digits.
    """
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
