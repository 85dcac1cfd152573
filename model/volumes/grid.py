"""The grid of an image without its voxels: of a file, or stated in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from model.geometry.spaces import RAS_LPS
from model.volumes.read import check_image_header
from model.volumes.volume import ImageLimits, Volume

_ANY_GRID = ImageLimits(min_spacing_mm=1e-4, max_spacing_mm=1e3, min_extent_mm=0.0)
"""A grid is taken whatever it covers: no ear has to fit into it."""


def grid_of_image(path: Path) -> Volume:
    """Give the grid of a NIfTI image from its header; the voxels of the result are all zero and take no memory.

    Raises:
        ImageError: not a 3-D scalar image with a usable affine.
    """
    header, placement = check_image_header(path, _ANY_GRID)
    return Volume(_nothing(header.shape), placement.affine, header.nifti, placement.warnings, placement.declared)


def stated_grid(shape: Sequence[int], spacing_mm: Sequence[float]) -> Volume:
    """Give a grid as the published crops have it: axes i, j, k towards L, P, S from the patient's origin.

    Args:
        shape: three counts of voxels.
        spacing_mm: three voxel sizes.
    """
    i, j, k = shape
    affine = RAS_LPS @ np.diag([*spacing_mm, 1.0])
    return Volume(_nothing((i, j, k)), affine, nibabel.Nifti1Header())


def _nothing(shape: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Give zeros that share one place in memory."""
    return np.broadcast_to(np.float32(0), shape)
