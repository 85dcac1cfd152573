"""Closed surfaces to voxel masks: a voxel is in when at least half of it is inside."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.masks.coverage import coverage
from model.meshes.mesh import SurfaceMesh

BoolArray = npt.NDArray[np.bool_]

# The coverage of a voxel cut exactly in half may come out a rounding error below one half.
_HALF = 0.5 - 1e-5


def voxelize(mesh_ijk: SurfaceMesh, shape: tuple[int, int, int]) -> BoolArray:
    """Give the mask of a closed surface.

    Args:
        mesh_ijk: closed surface in voxel indices of the grid (voxel centres at integers); what reaches outside the
            grid is cut off.
        shape: number of voxels along i, j, k.

    Returns:
        bool array of `shape`, True where at least half of the voxel is inside.

    Raises:
        MeshError: when the surface is not closed.
        ValueError: when the surface is not in voxel indices.
    """
    if mesh_ijk.space != "ijk":
        raise ValueError(f"voxelize: expected a mesh in ijk, found {mesh_ijk.space}")
    fractions, box = coverage(mesh_ijk, shape)
    mask = np.zeros(shape, dtype=np.bool_)
    mask[box] = fractions >= _HALF
    return mask


def voxelize_structures(
    meshes_ras: Mapping[str, SurfaceMesh], affine: npt.ArrayLike, shape: tuple[int, int, int]
) -> dict[str, BoolArray]:
    """Give the masks of several surfaces on the grid of an image.

    Args:
        meshes_ras: closed surfaces in RAS millimetres, by structure id.
        affine: (4, 4) voxel indices to RAS millimetres of the image; may be oblique, flipped or anisotropic.
        shape: number of voxels of the image along i, j, k.

    Returns:
        One bool array of `shape` per structure id.

    Raises:
        MeshError: when a surface is not closed.
    """
    ras_to_ijk = np.linalg.inv(np.asarray(affine, dtype=np.float64))
    return {name: voxelize(mesh.transformed(ras_to_ijk, "ijk"), shape) for name, mesh in meshes_ras.items()}
