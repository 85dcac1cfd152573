"""Anatomical landmarks of one ear, as the user gives them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

from model.errors import LandmarksError
from model.geometry.frame import LANDMARK_NAMES, Point
from model.geometry.spaces import ras_to_lps

Side = Literal["left", "right"]

MAX_TEXT_BYTES = 65536
"""Longest landmarks document that is read; five landmarks take a few hundred bytes."""

_KEYS = ("side", "space", "unit", "landmarks")


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one ear in patient space.

    Attributes:
        points_ras: name -> RAS millimetres; names of `LANDMARK_NAMES`.
        side: the ear they were set on, or None when not stated.
    """

    points_ras: Mapping[str, Point]
    side: Side | None = None

    @classmethod
    def parse(cls, document: str | bytes | Mapping[str, Any]) -> Landmarks:
        """Read landmarks from JSON text or from the values it holds.

        Format: `{"side": "left"|"right" (optional), "space": "RAS"|"LPS", "unit": "mm", "landmarks": {"RW": [x, y, z],
        ...}}`. Points in LPS are turned into RAS.

        Raises:
            LandmarksError: not JSON, a key missing, unknown or doubled, another space or unit, a point that is not
                three finite numbers.
        """
        values = document if isinstance(document, Mapping) else _load(document)
        unknown = [key for key in values if key not in _KEYS]
        if unknown:
            raise _error("the landmarks have an unknown key", f"keys {', '.join(_KEYS)}", _shown(unknown[0]))
        space = _choice(values, "space", ("RAS", "LPS"))
        _choice(values, "unit", ("mm",))
        side = _choice(values, "side", ("left", "right")) if values.get("side") is not None else None
        points = _points(values.get("landmarks"))
        if space == "LPS":
            points = {name: _as_point(ras_to_lps(point).tolist()) for name, point in points.items()}
        return cls(MappingProxyType(points), cast("Side | None", side))

    def to_json(self) -> dict[str, Any]:
        """Give the landmarks as plain JSON values that `parse` reads, in RAS."""
        points = {name: list(point) for name, point in self.points_ras.items()}
        return {"side": self.side, "space": "RAS", "unit": "mm", "landmarks": points}


def _load(text: str | bytes) -> Mapping[str, Any]:
    """Decode JSON text into an object without doubled keys."""
    if len(text) > MAX_TEXT_BYTES:
        raise _error("the landmarks document is too long", f"at most {MAX_TEXT_BYTES} bytes", f"{len(text)} bytes")
    try:
        values = json.loads(text, object_pairs_hook=_object_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _error("the landmarks are not JSON", "a JSON object", "text that does not parse") from error
    if not isinstance(values, Mapping):
        raise _error("the landmarks are not a JSON object", "a JSON object", f"a JSON {type(values).__name__}")
    return values


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; a key given twice is refused, since either value may be the one meant."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _error("a key of the landmarks is given twice", "each key once", "a doubled key")
    return values


def _choice(values: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """Give the value under a key, which must be one of `choices`."""
    value = values.get(key)
    if not isinstance(value, str) or value not in choices:
        wanted = " or ".join(f'"{choice}"' for choice in choices)
        found = "nothing" if value is None else _shown(value)
        raise _error(f'the "{key}" of the landmarks cannot be used', wanted, found)
    return value


def _points(landmarks: object) -> dict[str, Point]:
    """Check names and coordinates of the landmarks."""
    if not isinstance(landmarks, Mapping):
        raise _error('the "landmarks" are missing', f"an object of points named {', '.join(LANDMARK_NAMES)}", "none")
    points = {}
    for name, point in landmarks.items():
        if name not in LANDMARK_NAMES:
            raise _error("a landmark has an unknown name", f"names {', '.join(LANDMARK_NAMES)}", _shown(name))
        if not isinstance(point, list | tuple) or len(point) != 3 or not all(map(_is_finite_number, point)):
            raise _error(f"landmark {name} is not a point", "three finite numbers in mm", "something else")
        points[str(name)] = _as_point(point)
    if len(points) < 3:
        raise _error("there are too few landmarks", f"at least 3 of {', '.join(LANDMARK_NAMES)}", f"{len(points)}")
    return points


def _is_finite_number(value: object) -> bool:
    """Whether a JSON value is a finite number; an integer too long for a float is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _as_point(values: list[float] | tuple[float, ...]) -> Point:
    """Give three numbers as a point."""
    x, y, z = values
    return float(x), float(y), float(z)


def _shown(value: object) -> str:
    """Give a short, printable form of a value that came from outside."""
    return ascii(value)[:40]


def _error(detail: str, expected: str, found: str) -> LandmarksError:
    """Build the error of a landmarks document."""
    return LandmarksError(detail, expected=expected, found=found, field="landmarks")
