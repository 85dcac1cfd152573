"""The canonical frame: the grid and pose in which the atlas lies and the networks see an ear."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.errors import BundleError

LANDMARK_NAMES: tuple[str, ...] = ("RW", "C", "A", "OW", "V")
"""Round window, cochlear centre, apex, oval window, vestibule."""

LANDMARK_TITLES: Mapping[str, str] = MappingProxyType(
    {"RW": "round window", "C": "cochlear centre", "A": "apex", "OW": "oval window", "V": "vestibule"}
)

Point = tuple[float, float, float]


@dataclass(frozen=True)
class CanonicalFrame:
    """The canonical crop.

    Attributes:
        grid: voxels along i, j, k.
        spacing_mm: edge of a (cubic) voxel in millimetres.
        axes: where i, j, k point; only `LPS` is in use.
        side: the ear whose anatomy the frame shows; only `left` is in use, right ears are mirrored in i.
        landmarks_ijk: positions of landmarks of an average ear, in voxels of the crop.
    """

    grid: tuple[int, int, int]
    spacing_mm: float
    axes: Literal["LPS"]
    side: Literal["left"]
    landmarks_ijk: Mapping[str, Point]

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """(4, 4) canonical ijk -> RAS mm of the crop lying by itself, voxel 0 at the origin."""
        return np.diag([-self.spacing_mm, -self.spacing_mm, self.spacing_mm, 1.0])

    def to_json(self) -> dict[str, Any]:
        """Give the frame as plain JSON values."""
        return {
            "grid": list(self.grid),
            "spacing_mm": self.spacing_mm,
            "axes": self.axes,
            "side": self.side,
            "landmarks_ijk": {name: list(point) for name, point in self.landmarks_ijk.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CanonicalFrame:
        """Read a frame from plain JSON values.

        Args:
            document: keys `grid`, `spacing_mm`, `axes`, `side`, `landmarks_ijk`; others are ignored.

        Raises:
            BundleError: a value is missing, of another kind or not supported.
        """
        _require(document.get("axes") == "LPS", "axes", '"LPS"', document.get("axes"))
        _require(document.get("side") == "left", "side", '"left"', document.get("side"))
        grid = document.get("grid")
        grid_ok = _is_triple(grid) and all(type(size) is int and size >= 8 for size in grid or ())
        _require(grid_ok, "grid", "three integers of at least 8", grid)
        spacing = document.get("spacing_mm")
        _require(_is_number(spacing) and float(spacing or 0) > 0, "spacing_mm", "a positive number", spacing)
        landmarks = document.get("landmarks_ijk")
        landmarks_ok = isinstance(landmarks, Mapping) and all(
            name in LANDMARK_NAMES and _is_triple(point) for name, point in landmarks.items()
        )
        _require(landmarks_ok, "landmarks_ijk", f"three numbers for each of {', '.join(LANDMARK_NAMES)}", landmarks)
        points = {name: (float(p[0]), float(p[1]), float(p[2])) for name, p in dict(landmarks or {}).items()}
        i, j, k = grid or (0, 0, 0)
        return cls((i, j, k), float(spacing or 0), "LPS", "left", MappingProxyType(points))


def _is_number(value: object) -> bool:
    """Whether a JSON value is a finite number (bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_triple(value: object) -> bool:
    """Whether a JSON value is a list of three finite numbers."""
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))


def _require(accepted: bool, key: str, expected: str, found: object) -> None:
    """Refuse a frame whose value under `key` is not acceptable."""
    if not accepted:
        raise BundleError(
            f"the frame's {key} cannot be used", expected=expected, found=repr(found)[:80], field="bundle"
        )
