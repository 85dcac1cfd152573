"""What X-rays cross near an electrode array: path lengths in platinum, bone and soft tissue, plane by plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_matrix

from model.synthesis.electrode import ElectrodeArray
from model.synthesis.grid import Float32Array, FloatArray
from model.synthesis.radon import BIN_MM, BINS, coarse_pixels, project_coarse, view_angles
from model.synthesis.spectrum import water_and_bone

_WINDOW = 5
_FWHM = 2.355
_THIN_MM = 0.3
_METAL_REACH_MM = 0.45
_AIR_HU = -1000.0


@dataclass(frozen=True)
class Surrounding:
    """The tissue that the beam crosses near the metal.

    Attributes:
        image_hu: [i, j, k] image without metal; beyond it there is air (the head is counted apart).
        from_scan: (4, 4) affine, u, v, w in mm -> indices of the image.
    """

    image_hu: npt.NDArray[np.float32]
    from_scan: FloatArray


def thin_planes(
    metal_mm: FloatArray, heights_mm: FloatArray, slice_mm: float
) -> tuple[FloatArray, Float32Array, npt.NDArray[np.bool_]]:
    """Divide slices into planes of at most 0.3 mm that hold metal.

    Args:
        metal_mm: heights of the metal.
        heights_mm: increasing heights of the slices.
        slice_mm: slice thickness, full width at half maximum.

    Returns:
        (t,) heights of thin planes, (t, s) weights with which they make up the slices that hold metal, and which slices
        of all these are.
    """
    spacing = float(heights_mm[1] - heights_mm[0]) if len(heights_mm) > 1 else slice_mm
    step = spacing / np.ceil(spacing / _THIN_MM)
    sigma = np.sqrt(max((slice_mm / _FWHM) ** 2 - step**2 / 12.0, (0.3 * step) ** 2))
    reach = 3.0 * sigma + _METAL_REACH_MM
    low, high = heights_mm[0] - reach, heights_mm[-1] + reach
    metal = metal_mm[(metal_mm > low) & (metal_mm < high)]
    if not len(metal):
        return np.zeros(0), np.zeros((0, 0), dtype=np.float32), np.zeros(len(heights_mm), dtype=bool)
    count = int(np.ceil((metal.max() - metal.min() + 2 * _METAL_REACH_MM) / step)) + 1
    # Slices lie on thin planes, so that equal metal gives equal artifacts wherever the first slice is.
    first = heights_mm[0] + step * np.floor((metal.min() - _METAL_REACH_MM - heights_mm[0]) / step)
    thin = first + step * np.arange(count + 1)
    apart = (heights_mm[None, :] - thin[:, None]) / sigma
    hit = np.asarray((np.abs(apart) < 3.0).any(axis=0))
    weights = np.exp(-0.5 * apart[:, hit] ** 2) * (step / (sigma * np.sqrt(2 * np.pi)))
    return thin, weights.astype(np.float32), hit


def platinum_sinogram(array: ElectrodeArray, pieces: FloatArray, planes: FloatArray, views: int) -> Float32Array:
    """Give path lengths in platinum (mm), (views, BINS, planes), of pieces at (m, 3) u, v, w in mm."""
    step = float(planes[1] - planes[0])
    plane_sigma = np.hypot(array.pieces_sigma_mm, step / np.sqrt(12.0))
    heights = planes[None, :] - pieces[:, 2, None]
    per_plane = np.exp(-0.5 * (heights / plane_sigma[:, None]) ** 2) / (np.sqrt(2 * np.pi) * plane_sigma[:, None])
    per_plane[np.abs(heights) > 3.5 * plane_sigma[:, None]] = 0.0
    per_plane *= array.pieces_mm3[:, None]
    angles = view_angles(views)
    where = np.outer(np.cos(angles), pieces[:, 0]) + np.outer(np.sin(angles), pieces[:, 1])
    where = where / BIN_MM + (BINS - 1) / 2
    first = np.round(where).astype(int)
    taps = np.arange(-_WINDOW, _WINDOW + 1)
    bins = first[..., None] + taps
    sigma = array.pieces_sigma_mm[None, :, None]
    weight = np.exp(-0.5 * ((bins - where[..., None]) * BIN_MM / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
    valid = (bins >= 0) & (bins < BINS)
    rows = (bins + (np.arange(views) * BINS)[:, None, None])[valid]
    columns = np.broadcast_to(np.arange(len(pieces))[None, :, None], bins.shape)[valid]
    spread = csr_matrix((weight[valid].astype(np.float32), (rows, columns)), shape=(views * BINS, len(pieces)))
    return np.asarray(spread @ per_plane.astype(np.float32)).reshape(views, BINS, len(planes))


def tissue_sinograms(
    surrounding: Surrounding | None, planes: FloatArray, views: int
) -> tuple[Float32Array, Float32Array]:
    """Give path lengths (mm) in water and cortical bone round the metal, (views, coarse bins, planes) each."""
    pixels = coarse_pixels()
    if surrounding is None:
        nothing = project_coarse(np.zeros((len(pixels), len(planes)), dtype=np.float32), views)
        return nothing, nothing
    points = np.empty((3, len(pixels), len(planes)))
    for axis in range(3):
        row = surrounding.from_scan[axis]
        points[axis] = (pixels @ row[:2] + row[3])[:, None] + row[2] * planes[None, :]
    hu = map_coordinates(surrounding.image_hu, points, order=1, mode="constant", cval=_AIR_HU, output=np.float32)
    water, bone = water_and_bone(hu)
    return project_coarse(water, views), project_coarse(bone, views)
