"""The published augmentation: a crop turned about one of its axes, image and points alike.

The image is turned about the centre of the array, and so are the points; the program that the published models were
trained with turned the points about a centre half a voxel off.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

FloatArray = npt.NDArray[np.float64]


def draw_rotation(rng: np.random.Generator, largest_deg: float) -> FloatArray:
    """Draw a rotation about one axis of the array, its angle uniform up to `largest_deg` either way.

    Returns:
        (3, 3) matrix on voxel coordinates.
    """
    axis = "xyz"[int(rng.integers(3))]
    angle_deg = float(rng.uniform(-largest_deg, largest_deg))
    return np.asarray(Rotation.from_euler(axis, angle_deg, degrees=True).as_matrix(), dtype=np.float64)


def rotate_points(points_ijk: npt.ArrayLike, matrix: FloatArray, grid: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Turn points with the crop they lie in.

    Args:
        points_ijk: (N, 3) positions in crop voxels.
        matrix: (3, 3) rotation.
        grid: voxels of the crop along i, j, k.

    Returns:
        (N, 3) float32 positions in voxels of the turned crop.
    """
    centre = (np.asarray(grid, dtype=np.float64) - 1) / 2
    return np.asarray((np.asarray(points_ijk, np.float64) - centre) @ matrix.T + centre, dtype=np.float32)


def rotate_image(image: Tensor, matrix: FloatArray, fill: float) -> Tensor:
    """Turn the channels of a crop, trilinearly.

    Args:
        image: (C, I, J, K) values.
        matrix: (3, 3) rotation: what lies at p comes to lie at matrix @ (p - centre) + centre.
        fill: value of what comes in from outside.

    Returns:
        The turned crop, same shape.
    """
    half = (np.array(image.shape[1:], dtype=np.float64) - 1) / 2
    # The sampler wants, for every voxel of the result, where to read; per axis -1 to 1 between the outermost centres,
    # last axis first.
    inverse = np.diag(1 / half) @ matrix.T @ np.diag(half)
    theta = torch.from_numpy(np.hstack([inverse[::-1, ::-1], np.zeros((3, 1))]).copy()).to(image.dtype)
    where = torch.nn.functional.affine_grid(theta[None], [1, *image.shape], align_corners=True)
    turned = torch.nn.functional.grid_sample(image[None] - fill, where, padding_mode="zeros", align_corners=True)
    result: Tensor = turned[0] + fill
    return result
