"""The `Prefer` header (RFC 7240): whether, and how long, a client would wait for the result of its request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from api.waiting import MAX_WAIT_S

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  (RFC 9110, section 5.6.2)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_WORD = rf"(?:{_TOKEN}|{_QUOTED})"
_PARAMETER = rf"{_TOKEN}(?:[ \t]*=[ \t]*{_WORD})?"
_PREFERENCE = re.compile(
    rf"[ \t,]*(?P<name>{_TOKEN})(?:[ \t]*=[ \t]*(?P<value>{_WORD}))?(?:[ \t]*;[ \t]*(?:{_PARAMETER})?)*[ \t]*(?:,|$)"
)


@dataclass(frozen=True)
class Preferences:
    """What a client prefers.

    Attributes:
        respond_async: rather 202 at once than to wait (section 4.1).
        wait_s: seconds it would wait (section 4.3), capped at what the service offers; None when not said.
    """

    respond_async: bool = False
    wait_s: int | None = None

    def applied(self, *, at_once: bool) -> str | None:
        """Give the value of `Preference-Applied`, or None.

        Args:
            at_once: whether the answer came without the result.
        """
        parts = ["respond-async"] if self.respond_async and at_once else []
        parts += [f"wait={self.wait_s}"] if self.wait_s is not None else []
        return ", ".join(parts) or None


def parse_prefer(values: Iterable[str]) -> Preferences:
    """Read the `Prefer` header fields of a request.

    What is unknown or malformed is ignored and of a preference that comes twice the first counts, both as RFC 7240,
    section 2 says.

    Args:
        values: the fields in order; several are one list.
    """
    found: dict[str, str] = {}
    text, position = ",".join(values), 0
    while position < len(text):
        match = _PREFERENCE.match(text, position)
        if match is None:
            comma = text.find(",", position)
            position = len(text) if comma < 0 else comma + 1
            continue
        found.setdefault(match["name"].lower(), (match["value"] or "").strip('"'))
        position = match.end()
    wait = found.get("wait", "")
    # A number of more digits is beyond the cap anyway, and some lengths Python refuses to read.
    wait_s = min(int(wait[:6]), MAX_WAIT_S) if re.fullmatch(r"[0-9]+", wait) else None
    return Preferences("respond-async" in found, wait_s)
