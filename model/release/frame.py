"""Where the crops of the release lie in the canonical frame.

The release states no landmarks. Its crops are taken as those of the canonical frame: left ears, or right ones
mirrored, axes L, P, S, voxels of 0.2 mm. On a grid of 128 x 128 x 128 the landmarks hence are the canonical ones. A
crop of another grid is taken to have the same middle: along each axis a landmark moves by half the difference of the
sizes, so of a smaller crop it may lie outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from model.geometry.frame import CanonicalFrame, Point
from model.release.atlas_files import SPACING_MM

CANONICAL_GRID = (128, 128, 128)
"""Voxels of the published crops."""

CANONICAL_LANDMARKS_IJK: Mapping[str, Point] = MappingProxyType(
    {
        "RW": (67.81, 57.45, 42.49),
        "C": (44.72, 41.93, 51.6),
        "A": (52.07, 29.72, 49.6),
        "OW": (68.97, 54.92, 56.75),
        "V": (65.42, 62.24, 59.92),
    }
)
"""Landmarks of the mean ear in voxels of the canonical crop; those of the model `cochlea-ct-v2`.

Source: W. Wimmer et al., Data in Brief 27 (2019) 104782, doi 10.1016/j.dib.2019.104782 (CC BY 4.0), mean of its ears.
"""


def release_frame(grid: tuple[int, int, int]) -> CanonicalFrame:
    """Give the canonical frame of crops of a grid, landmarks included.

    Args:
        grid: voxels of `SPACING_MM` along i, j, k.
    """
    i, j, k = ((size - canonical) / 2 for size, canonical in zip(grid, CANONICAL_GRID, strict=True))
    points = {name: (x + i, y + j, z + k) for name, (x, y, z) in CANONICAL_LANDMARKS_IJK.items()}
    return CanonicalFrame(grid, SPACING_MM, "LPS", "left", MappingProxyType(points))
