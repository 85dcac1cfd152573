"""Overlap of masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dice(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> float:
    """Give the Dice coefficient of two masks.

    Args:
        first: mask; every value but zero is inside.
        second: mask of the same shape.

    Returns:
        Twice the common voxels over the sum of both, in [0, 1]; 1 when both are empty.

    Raises:
        ValueError: when the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"dice: expected masks of one shape, found {first.shape} and {second.shape}")
    one, other = first != 0, second != 0
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2.0 * int(np.count_nonzero(one & other)) / total if total else 1.0


def volume_mm3(mask: npt.NDArray[np.generic], affine: npt.ArrayLike) -> float:
    """Give the volume of a mask.

    Args:
        mask: [i, j, k]; every value but zero is inside.
        affine: (4, 4) voxel indices -> mm.
    """
    voxel_mm3 = abs(float(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))
    return int(np.count_nonzero(mask)) * voxel_mm3
