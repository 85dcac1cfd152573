"""The header `traceparent` of W3C Trace Context, by which a request is followed through several services."""

from __future__ import annotations

import re

HEADER = "traceparent"
_FORM = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
)


def valid_traceparent(text: str) -> str | None:
    """Give the trace context of a header, or None when it is malformed and must be ignored.

    Source: W3C Trace Context, section 3.2: lower-case hexadecimal, no zero ids, version ff is invalid, version 00 has
    nothing more, and a higher version is read by the fields of version 00, which is what is given then.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or found["version"] == "ff" or not found["trace"].strip("0") or not found["parent"].strip("0"):
        return None
    if found["version"] == "00":
        return None if found["more"] else found[0]
    return "00" + found[0][2:55]
