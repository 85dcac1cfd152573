"""The surface of a voxel mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.measure import marching_cubes

from model.meshes.mesh import SurfaceMesh


def mask_surface(mask: npt.NDArray[np.generic], affine: npt.ArrayLike) -> SurfaceMesh | None:
    """Give the surface halfway between the voxels in and out of a mask, in RAS mm.

    Marching cubes (Lewiner 2003) at one half of the 0/1 mask, one voxel of outside added all around so that the surface
    is closed at the border; nothing is smoothed and every piece is kept. Such a surface has steps: voxelized atlas
    structures come back with a mean surface distance of 0.15 and a 95 % Hausdorff distance of 0.35 to 0.4 of a voxel
    (0.025 and 0.06 mm at 0.156 x 0.156 x 0.2 mm). No surface distance to a mask means anything below that.

    Args:
        mask: [i, j, k]; every value but zero is inside.
        affine: (4, 4) voxel indices -> RAS mm; may mirror.

    Returns:
        A surface wound outward, or None when the mask is empty.
    """
    inside = np.asarray(mask) != 0
    occupied = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not occupied[0].size:
        return None
    box = tuple(slice(int(used[0]), int(used[-1]) + 1) for used in occupied)
    vertices, triangles, _, _ = marching_cubes(np.pad(inside[box].astype(np.float32), 1), 0.5)
    start = np.array([part.start for part in box]) - 1.0
    surface = SurfaceMesh(vertices + start, triangles, "ijk")
    outward = surface if surface.signed_volume > 0 else surface.flipped()
    return outward.transformed(affine, "ras")
