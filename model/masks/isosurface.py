"""The surface of a structure from the probability that each voxel belongs to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import marching_cubes

from model.meshes.mesh import SurfaceMesh

LEVEL = 0.5
"""A voxel is in where its probability is above this, and the surface runs where the interpolated one equals it."""


def largest_piece(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give a probability without the smaller pieces of its structure.

    Pieces are sets of voxels above `LEVEL` that are connected by faces; of pieces of one size the first in array order
    counts as the larger. Voxels of the other pieces get probability 0, all others keep theirs.

    Args:
        probability: float32 [i, j, k].
    """
    pieces, count = ndimage.label(probability > LEVEL)
    if count < 2:
        return probability
    sizes = np.bincount(pieces.ravel())[1:]
    others = (pieces > 0) & (pieces != int(np.argmax(sizes)) + 1)
    return np.where(others, np.float32(0), probability)


def isosurface(probability: npt.NDArray[np.float32]) -> SurfaceMesh | None:
    """Give the closed surface at `LEVEL` by marching cubes, one vertex on each line between neighbours that it parts.

    Beyond the array the probability is 0, so that a structure which reaches its border is closed there, half a voxel
    or less beyond the outermost centres. All pieces and cavities are part of the surface.

    Args:
        probability: float32 [i, j, k].

    Returns:
        The surface in voxel indices of the array, wound outward; None when no voxel is above `LEVEL`.

    Source: Lewiner et al., "Efficient implementation of marching cubes' cases with topological guarantees", 2003.
    """
    inside = probability > LEVEL
    if not inside.any():
        return None
    low = [int(np.flatnonzero(inside.any(axis=others))[0]) for others in ((1, 2), (0, 2), (0, 1))]
    high = [int(np.flatnonzero(inside.any(axis=others))[-1]) for others in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(max(first - 1, 0), last + 2) for first, last in zip(low, high, strict=True))
    # Voxels at the level itself are outside; a hair below it they leave no triangles without area.
    part = np.pad(np.where(inside[box], probability[box], np.minimum(probability[box], _BELOW)), 1)
    vertices, triangles, _, _ = marching_cubes(part, LEVEL, gradient_direction="descent", allow_degenerate=True)
    start = np.array([piece.start for piece in box]) - 1
    return SurfaceMesh(vertices.astype(np.float64) + start, triangles[:, ::-1], "ijk")


_BELOW = np.float32(LEVEL - 1e-4)
