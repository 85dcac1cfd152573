"""Between the patient's grid and the canonical crop: images one way, displacements the other."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.geometry.alignment import Alignment
from model.geometry.frame import CanonicalFrame
from model.volumes.volume import Volume

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]

FINE_FRACTION = 0.5
"""Axes with voxels finer than this fraction of the target's are smoothed before sampling (below 0.1 mm for 0.2 mm)."""

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_EDGE = 0.5 + 1e-6
_EXACT = 1e-3
_TRUNCATE = 4.0


def resample_to_canonical(
    volume: Volume, alignment: Alignment, frame: CanonicalFrame, fill: float
) -> tuple[FloatImage, npt.NDArray[np.bool_]]:
    """Sample a patient image on the canonical grid, trilinearly.

    Array axes whose voxels are finer than half the canonical spacing s are smoothed first by a Gaussian whose full
    width at half maximum w makes up the difference, w^2 = s^2 - voxel^2, so that detail the grid cannot hold does not
    alias. The field of view reaches to the outer faces of the voxels; in the last half voxel the last value counts.

    Args:
        volume: the patient image.
        alignment: where the canonical frame lies in the patient.
        frame: the canonical frame.
        fill: value outside the field of view, in the image's own unit (HU).

    Returns:
        float32 image and bool mask of the field of view, both [i, j, k] on `frame.grid`.
    """
    volume = _in_ras_order(volume)
    to_array = np.linalg.inv(volume.affine) @ alignment.canonical_to_ras
    matrix = snap_to_grid(to_array, frame.grid)
    inside = inside_grid(matrix, frame.grid, volume.shape)
    box = reach(matrix, frame.grid, volume.shape, margin=_margin(volume.spacing_mm, frame.spacing_mm))
    if box is None:
        return np.full(frame.grid, fill, dtype=np.float32), inside
    data = _smoothed(volume.data[box], volume.spacing_mm, frame.spacing_mm)
    offset = matrix[:3, 3] - np.array([part.start for part in box])
    image = sample_trilinear(data, matrix[:3, :3], offset, frame.grid)
    return np.where(inside, image, np.float32(fill)), inside


def border_distance_mm(volume: Volume, alignment: Alignment, frame: CanonicalFrame) -> FloatImage:
    """Give how deep each voxel of the canonical grid lies in the field of view.

    Returns:
        float32 [i, j, k] on `frame.grid`: distance in millimetres to the nearest outer face of the image's voxels,
        negative outside.
    """
    matrix = np.linalg.inv(volume.affine) @ alignment.canonical_to_ras
    depth = np.full(frame.grid, np.inf)
    for axis, (size, spacing) in enumerate(zip(volume.shape, volume.spacing_mm, strict=True)):
        coordinate = _coordinate(matrix, axis, frame.grid)
        np.minimum(depth, np.minimum(coordinate + 0.5, size - 0.5 - coordinate) * spacing, out=depth)
    return depth.astype(np.float32)


def displacement_to_patient_ras(ddf_ijk: npt.ArrayLike, alignment: Alignment, volume: Volume) -> FloatImage:
    """Bring a displacement field from the canonical grid onto the patient's.

    The field maps a point p of the atlas to p + ddf(p) in the patient, both in canonical voxels. The result says the
    same in patient space: a point of the rigidly placed atlas at x moves to x + v(x).

    Args:
        ddf_ijk: (3, I, J, K), channel c displaces along canonical axis c, in voxels.
        alignment: where the canonical frame lies in the patient.
        volume: the patient image, for its grid.

    Returns:
        (I, J, K, 3) float32 on the volume's grid, RAS mm, zero outside the canonical crop.
    """
    field = np.asarray(ddf_ijk, dtype=np.float32)
    grid = (field.shape[1], field.shape[2], field.shape[3])
    to_canonical = snap_to_grid(alignment.ras_to_canonical @ volume.affine, volume.shape)
    result = np.zeros((*volume.shape, 3), dtype=np.float32)
    box = reach(np.asarray(np.linalg.inv(to_canonical), dtype=np.float64), grid, volume.shape, margin=1)
    if box is None:
        return result
    start = np.array([part.start for part in box], dtype=np.float64)
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
    matrix = to_canonical.copy()
    matrix[:3, 3] += matrix[:3, :3] @ start
    sampled = np.stack([sample_trilinear(channel, matrix[:3, :3], matrix[:3, 3], shape) for channel in field], axis=-1)
    sampled *= inside_grid(matrix, shape, grid)[..., None]
    result[box] = sampled @ alignment.canonical_to_ras[:3, :3].T.astype(np.float32)
    return result


def canonical_box(alignment: Alignment, frame: CanonicalFrame, volume: Volume) -> Box | None:
    """Give the part of the patient's array that the canonical crop reaches, or None when it reaches none of it."""
    to_array = np.linalg.inv(volume.affine) @ alignment.canonical_to_ras
    return reach(to_array, frame.grid, volume.shape, margin=1)


def _in_ras_order(volume: Volume) -> Volume:
    """Give a volume with its axes in the order and direction nearest to R, A, S.

    However a file orders its axes, the same sums are then done in the same order, and the result is the same to the
    last bit but for the rounding of the affine; an optimiser further on could enlarge any difference.
    """
    order = nibabel.io_orientation(volume.affine)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(order, volume.shape)
    data = np.ascontiguousarray(nibabel.apply_orientation(volume.data, order))
    return replace(volume, data=data, affine=affine)


def snap_to_grid(matrix: FloatArray, shape: Shape) -> FloatArray:
    """Take a map between grids that permutes and flips axes, but for rounding, as exactly that.

    Prepared crops then pass through unchanged instead of being blurred by a millionth of a voxel.
    """
    nearest = np.round(matrix)
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, size - 1) for size in shape))])
    apart = float(np.abs(corners @ (matrix - nearest).T).max())
    return nearest if apart < _EXACT else matrix


def _coordinate(matrix: FloatArray, axis: int, shape: Shape) -> FloatArray:
    """Target coordinate along one axis of every voxel of a grid, as the sum of three open arrays."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    row = matrix[axis]
    return np.asarray(row[0] * i + (row[1] * j + (row[2] * k + row[3])))


def inside_grid(matrix: FloatArray, shape: Shape, target: Shape) -> npt.NDArray[np.bool_]:
    """Whether each voxel of a grid falls within the voxels (outer faces included) of the target grid."""
    inside = np.ones(shape, dtype=np.bool_)
    for axis in range(3):
        coordinate = _coordinate(matrix, axis, shape)
        inside &= (coordinate >= -_EDGE) & (coordinate <= target[axis] - 1 + _EDGE)
    return inside


def reach(matrix: FloatArray, grid: Shape, shape: Shape, margin: int) -> Box | None:
    """Give the box of an array that a grid, mapped into it, touches; None when it misses the array."""
    faces = [(-0.5, size - 0.5) for size in grid]
    corners = np.array(list(itertools.product(*faces))) @ matrix[:3, :3].T + matrix[:3, 3]
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - margin, 0, np.array(shape))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + margin + 1, 0, np.array(shape))
    if np.any(high <= low):
        return None
    i, j, k = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return i, j, k


def _smoothed(data: FloatImage, spacing_mm: tuple[float, ...], target_mm: float) -> FloatImage:
    """Smooth along the axes that are much finer than the target grid."""
    result = data
    for axis, spacing in enumerate(spacing_mm):
        sigma = _sigma(spacing, target_mm)
        if sigma > 0:
            result = ndimage.gaussian_filter1d(result, sigma, axis=axis, mode="nearest", truncate=_TRUNCATE)
    return result


def _sigma(spacing: float, target_mm: float) -> float:
    """Width of the smoothing along an axis, in its voxels; 0 where none is needed."""
    if spacing >= FINE_FRACTION * target_mm:
        return 0.0
    return float(np.sqrt(target_mm**2 - spacing**2) / _FWHM_PER_SIGMA / spacing)


def _margin(spacing_mm: tuple[float, ...], target_mm: float) -> int:
    """Voxels around the crop that its values depend on."""
    return 2 + int(np.ceil(_TRUNCATE * max(_sigma(spacing, target_mm) for spacing in spacing_mm)))


def sample_trilinear(data: FloatImage, linear: FloatArray, offset: FloatArray, shape: Shape) -> FloatImage:
    """Trilinear values at linear @ voxel + offset; beyond the outermost centres the nearest value counts."""
    sampled = ndimage.affine_transform(
        data, linear, offset, output_shape=shape, output=np.float32, order=1, mode="nearest", prefilter=False
    )
    return np.asarray(sampled, dtype=np.float32)
