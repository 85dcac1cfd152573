"""Closed surfaces to voxel masks: a voxel is in when at least half of it is inside."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel
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
    # Rays run along an array axis. With the axes put in the order nearest to R, A, S first, they run along the same
    # direction of the patient however the file orders its axes, and so give the same mask.
    order = nibabel.io_orientation(affine)
    back = nibabel.orientations.inv_ornt_aff(order, shape)
    ordered = np.asarray(affine, dtype=np.float64) @ back
    ordered_shape = tuple(int(size) for size in np.array(shape)[np.argsort(order[:, 0])])
    ras_to_ijk = np.linalg.inv(ordered)
    masks = {}
    for name, mesh in meshes_ras.items():
        mask = voxelize(mesh.transformed(ras_to_ijk, "ijk"), (ordered_shape[0], ordered_shape[1], ordered_shape[2]))
        masks[name] = np.ascontiguousarray(nibabel.apply_orientation(mask, _undone(order)))
    return masks


def _undone(order: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the axis order and flips that undo others, as `nibabel.io_orientation` writes them."""
    undo = np.zeros_like(order)
    for axis, (target, flip) in enumerate(order):
        undo[int(target)] = (axis, flip)
    return undo
