"""How an ear looks in CT, in numbers: to compare synthetic ears with real ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from model.synthesis.grid import CANONICAL_SPACING_MM

_BORDER_VOXELS = 3
_AIR_HU, _BONE_HU = -500.0, 1000.0
_ZONES_MM = {"capsule": (0.4, 1.2), "petrous": (1.5, 3.0), "around": (3.0, 6.0)}


def appearance(
    image_hu: npt.NDArray[np.floating], labyrinth: npt.NDArray[np.bool_], seen: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Measure CT numbers, edge, texture and noise of an ear without metal in the canonical crop.

    Args:
        image_hu: (128, 128, 128) CT, HU.
        labyrinth: its labyrinth, bool of the same shape.
        seen: the field of view.

    Returns:
        HU percentiles of the lumen (0.3 mm and more from its wall) and of three zones outside it; shares of air and of
        dense bone in the zones; `edge_hu_per_mm`, the median slope at the wall; `noise_hu`, the spread of differences
        between an image and itself smoothed by 0.3 mm where it is even, and `noise_next`, the correlation of these
        differences between neighbouring voxels.
    """
    seen = binary_erosion(seen, iterations=_BORDER_VOXELS)
    outside = distance_transform_edt(~labyrinth) * CANONICAL_SPACING_MM
    depth = distance_transform_edt(labyrinth) * CANONICAL_SPACING_MM
    result: dict[str, float] = {}
    lumen = image_hu[seen & (depth > 0.3)]
    for percentile in (10, 50, 90):
        result[f"lumen_p{percentile}"] = float(np.percentile(lumen, percentile))
    for zone, (low, high) in _ZONES_MM.items():
        values = image_hu[seen & (outside > low) & (outside <= high)]
        for percentile in (10, 50, 90):
            result[f"{zone}_p{percentile}"] = float(np.percentile(values, percentile))
        result[f"{zone}_air"] = float((values < _AIR_HU).mean())
        result[f"{zone}_bone"] = float((values > _BONE_HU).mean())
    slope = np.linalg.norm(np.gradient(image_hu.astype(np.float32), CANONICAL_SPACING_MM), axis=0)
    wall = seen & (outside > 0) & (outside <= 1.5 * CANONICAL_SPACING_MM)
    result["edge_hu_per_mm"] = float(np.median(slope[wall]))
    return result | _noise(image_hu, seen & (outside > 0.8))


def _noise(image_hu: npt.NDArray[np.floating], where: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Measure the noise in the evenest third of the bone."""
    smooth = gaussian_filter(image_hu.astype(np.float32), 1.5)
    rest = image_hu - smooth
    slope = np.linalg.norm(np.gradient(gaussian_filter(smooth, 1.5)), axis=0)
    bone = where & (smooth > _BONE_HU)
    even = bone & (slope <= np.percentile(slope[bone], 33.0))
    pairs = even[:-1] & even[1:]
    spread = float(rest[even].std())
    return {
        "noise_hu": spread,
        "noise_next": float(np.corrcoef(rest[:-1][pairs], rest[1:][pairs])[0, 1]),
    }
