"""The mask of a structure on the grid of the patient's image, from its probability on the canonical crop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.geometry.alignment import Alignment
from model.masks.isosurface import LEVEL
from model.volumes.resample import reach, sample_trilinear, snap_to_grid
from model.volumes.volume import Volume


def mask_on_image(
    probability: npt.NDArray[np.float32], alignment: Alignment, spacing_mm: float, volume: Volume
) -> npt.NDArray[np.bool_]:
    """Give a mask on the image's own grid.

    A voxel is in the mask where the mean probability over it is above `LEVEL`. The mean is over n samples along each
    axis of the voxel, n being its size in crop voxels, rounded and at least 1; each sample is interpolated trilinearly,
    and the probability is 0 beyond the crop. On the crop's own grid the mask is hence exactly where the probability is
    above `LEVEL`; of coarser voxels those are in that lie inside by half or more.

    Args:
        probability: float32 [i, j, k] on the canonical crop.
        alignment: where the canonical crop lies in the patient.
        spacing_mm: voxel size of the canonical crop.
        volume: the patient's image, for its grid.

    Returns:
        bool array of the image's shape.
    """
    mask = np.zeros(volume.shape, dtype=np.bool_)
    inside = np.argwhere(probability > LEVEL)
    if not len(inside):
        return mask
    # A voxel whose mean is above the level has a sample less than one crop voxel from one that is above it.
    low, high = inside.min(axis=0) - 1, inside.max(axis=0) + 1
    to_canonical = alignment.ras_to_canonical @ volume.affine
    to_image = np.asarray(np.linalg.inv(to_canonical), dtype=np.float64)
    to_image[:3, 3] += to_image[:3, :3] @ low
    i, j, k = (int(size) for size in high - low + 1)
    box = reach(to_image, (i, j, k), volume.shape, margin=1)
    if box is None:
        return mask
    samples = np.maximum(np.round(np.array(volume.spacing_mm) / spacing_mm).astype(int), 1)
    sizes = np.array([part.stop - part.start for part in box])
    fine = np.diag([*(1 / samples), 1.0])
    fine[:3, 3] = np.array([part.start for part in box]) + 0.5 / samples - 0.5
    i, j, k = (int(size) for size in sizes * samples)
    matrix = snap_to_grid(to_canonical @ fine, (i, j, k))
    values = sample_trilinear(np.pad(probability, 1), matrix[:3, :3], matrix[:3, 3] + 1, (i, j, k))
    shape = np.stack([sizes, samples], axis=1).ravel()
    mask[box] = values.reshape(shape).mean(axis=(1, 3, 5)) > LEVEL
    return mask
