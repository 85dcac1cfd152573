"""The silicone carrier of an electrode array, seen in air-filled ears: what it adds to an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.special import erfc

from model.geometry.spaces import apply_affine
from model.synthesis.electrode import ElectrodeArray
from model.synthesis.grid import CANONICAL_SPACING_MM, Float32Array, FloatArray

SILICONE_HU = 180.0
_REACH_MM = 1.2
_EVERY = 5
_TAPER_MM = 18.0


def carrier_change(
    array: ElectrodeArray, image_hu: npt.NDArray[np.float32], to_canonical: FloatArray, fwhm_mm: float
) -> tuple[npt.NDArray[np.intp], Float32Array]:
    """Give what silicone in place of fluid or air changes.

    The carrier is a tube round the array's course, smoothed by a point spread.

    Args:
        array: the inserted array.
        image_hu: [i, j, k] image without it.
        to_canonical: (4, 4) affine, image ijk -> canonical ijk.
        fwhm_mm: point spread, full width at half maximum.

    Returns:
        (n, 3) voxels of the image and (n,) HU to add to them.
    """
    course_mm = array.course_ijk * CANONICAL_SPACING_MM
    course_ijk = apply_affine(np.linalg.inv(to_canonical), array.course_ijk)
    voxels = _near(course_ijk, to_canonical, image_hu.shape)
    points_mm = apply_affine(to_canonical, voxels) * CANONICAL_SPACING_MM
    distance, nearest = cKDTree(course_mm).query(points_mm)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(course_mm, axis=0), axis=1))])
    from_tip = length[-1] - length[nearest]
    design = array.design
    radius = np.interp(from_tip, [0.0, _TAPER_MM], [design.tip_radius_mm, design.base_radius_mm])
    sigma = fwhm_mm / 2.355
    share = 0.5 * erfc((distance - radius) / (np.sqrt(2.0) * sigma))
    # What it replaces is what lies along its course: the image there, not that of the wall beside it.
    replaced = map_coordinates(image_hu, course_ijk.T, order=1, mode="nearest", output=np.float32)
    change = share * (SILICONE_HU - np.minimum(replaced[nearest], SILICONE_HU))
    return voxels, change.astype(np.float32)


def _near(course_ijk: FloatArray, to_canonical: FloatArray, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Give the voxels in boxes that reach 1.2 mm to every side of each half millimetre of the course."""
    spacing_mm = np.linalg.norm(to_canonical[:3, :3], axis=0) * CANONICAL_SPACING_MM
    reach = np.ceil((_REACH_MM + 0.25) / spacing_mm).astype(int)
    mask = np.zeros(shape, dtype=bool)
    for centre in np.round(course_ijk[::_EVERY]).astype(int):
        low, high = np.maximum(centre - reach, 0), np.maximum(centre + reach + 1, 0)
        mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = True
    return np.argwhere(mask)
