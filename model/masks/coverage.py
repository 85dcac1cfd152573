"""How much of every voxel lies inside a closed surface.

Rays run along axis k, 26 through every (i, j) column. Where a ray crosses the surface, the inside begins or ends at an
exact k, so the covered length of every voxel on the ray is exact; only across the ray is the coverage a mean over
samples. The rays form a square lattice that is turned against the voxel grid by atan(1/5), so that the 26 rays of a
column stand at 26 different i and at 26 different j: walls along the grid are located as well as slanted ones.

A crossing counts with the sign of the triangle's winding, therefore nested surfaces (a cavity inside a body) are
hollow, and where a surface runs through itself the overlap counts once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.masks.scanlines import Crossings, cross_rays
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.meshes.topology import require_closed

_SLOPE = 5
_RAYS = _SLOPE**2 + 1
"""Rays per voxel. The lattice repeats from voxel to voxel because 5 * 5 = -1 modulo 26; it is even, so that a voxel cut
in half by a wall along the grid is covered by exactly one half."""

Box = tuple[slice, slice, slice]
Size = tuple[int, int, int]


def coverage(mesh_ijk: SurfaceMesh, shape: Size) -> tuple[npt.NDArray[np.float32], Box]:
    """Give the covered fraction of the voxels around a closed surface.

    Args:
        mesh_ijk: closed surface in voxel indices of the grid; it may reach outside the grid.
        shape: number of voxels along i, j, k; a voxel extends half a voxel around its integer centre.

    Returns:
        Fractions in [0, 1] of the voxels in a box, and the box within the grid; all other voxels are outside.

    Raises:
        MeshError: when the surface is not closed.
    """
    require_closed(mesh_ijk)
    box = _bounding_box(mesh_ijk.vertices, shape)
    size = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
    if min(size) == 0:
        return np.zeros(size, dtype=np.float32), box
    vertices = mesh_ijk.vertices - [part.start for part in box]
    column, depth, sign = _crossings_by_column(vertices, mesh_ijk.triangles, size)
    fractions = _accumulate(column, depth, sign, size)
    if mesh_ijk.signed_volume < 0:  # wound inward as a whole
        fractions = -fractions
    return np.clip(fractions, 0.0, 1.0, out=fractions), box


def shares_inside(
    meshes: Sequence[SurfaceMesh], vertices_ijk: npt.NDArray[np.floating], shape: Size
) -> npt.NDArray[np.float32]:
    """Give the covered fraction of every voxel of a grid by several surfaces, moved to where their vertices lie now.

    Args:
        meshes: closed surfaces; only their triangles and numbers of vertices count.
        vertices_ijk: (N, 3) the vertices of all of them, one surface after the other, in voxel indices of the grid.
        shape: number of voxels along i, j, k.

    Returns:
        (C, I, J, K) fractions in [0, 1], one channel a surface.

    Raises:
        MeshError: when a surface is not closed.
    """
    shares = np.zeros((len(meshes), *shape), dtype=np.float32)
    start = 0
    for channel, mesh in zip(shares, meshes, strict=True):
        stop = start + len(mesh.vertices)
        fractions, box = coverage(mesh.with_vertices(vertices_ijk[start:stop]), shape)
        channel[box] = fractions
        start = stop
    return shares


def _bounding_box(vertices: FloatArray, shape: Size) -> Box:
    """Give the voxels that the surface can touch, cut to the grid."""
    size = np.array(shape)
    low = np.clip(np.floor(vertices.min(axis=0) + 0.5), 0, size).astype(int)
    high = np.clip(np.floor(vertices.max(axis=0) + 0.5) + 1, low, size).astype(int)
    i, j, k = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return i, j, k


def _crossings_by_column(
    vertices: FloatArray, triangles: npt.NDArray[np.int32], size: Size
) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """Cross the surface with all rays of a box and give flat (i, j) column, k and sign of each crossing."""
    i, j, k = vertices.T
    first = (-(size[1] + _SLOPE), -(_SLOPE + 1))  # below every ray of the box
    # Ray (a, b) of the lattice stands at i = (5a + b + 1/2) / 26, j = (5b - a + 1/2) / 26.
    half = (_SLOPE - 1) / 2 / _RAYS, (_SLOPE + 1) / 2 / _RAYS
    lattice = np.stack([_SLOPE * i - j - half[0] - first[0], i + _SLOPE * j - half[1] - first[1], k], axis=1)
    rays = (_SLOPE * size[0] - first[0] + 1, size[0] + _SLOPE * size[1] - first[1] + 1)
    crossings: Crossings = cross_rays(lattice[triangles], rays)
    a, b = crossings.u + first[0], crossings.v + first[1]
    at_i = (_SLOPE * a + b + _RAYS // 2) // _RAYS
    at_j = (_SLOPE * b - a + _RAYS // 2) // _RAYS
    inside = (at_i >= 0) & (at_i < size[0]) & (at_j >= 0) & (at_j < size[1])
    column = at_i * size[1] + at_j
    if inside.all():
        return column, crossings.depth, crossings.sign
    return column[inside], crossings.depth[inside], crossings.sign[inside]


def _accumulate(
    column: npt.NDArray[np.int64], depth: FloatArray, sign: FloatArray, size: Size
) -> npt.NDArray[np.float32]:
    """Sum what the crossings cover: part of the voxel they lie in and all of the voxels after it."""
    length = size[2] + 1
    shifted = np.clip(depth + 0.5, 0.0, float(size[2]))
    voxel = np.minimum(shifted.astype(np.int64), size[2] - 1)
    part = voxel + 1 - shifted
    weight = sign / _RAYS
    at = column * length + voxel
    total = size[0] * size[1] * length
    steps = np.bincount(at, weight * part, total)
    steps += np.bincount(at + 1, weight * (1.0 - part), total)
    return np.cumsum(steps.reshape(size[0], size[1], length), axis=2)[:, :, :-1].astype(np.float32)
