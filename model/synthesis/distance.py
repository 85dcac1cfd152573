"""Signed distance of a closed surface on the canonical crop.

Inside or outside comes from the crossings of grid lines with the triangles (ray parity along the last axis), the size
of the distance from the nearest point of a dense sampling of the surface.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from model.meshes.mesh import SurfaceMesh
from model.synthesis.grid import CANONICAL_SPACING_MM, Float32Array, FloatArray, RenderGrid

BoolArray = npt.NDArray[np.bool_]

_SAMPLE_MM = 0.06
_BAND_MM = 0.6
# Grid lines through a vertex or along an edge would count a crossing twice; a shift far below a voxel avoids them.
_SHIFT = (1.3e-5, 2.7e-5)


def inside(mesh_ijk: SurfaceMesh, grid: RenderGrid) -> BoolArray:
    """Tell which voxel centres lie inside a closed surface.

    Args:
        mesh_ijk: closed surface in canonical ijk.
        grid: where to ask.

    Returns:
        (n, n, n) bool array, indexed [i, j, k].
    """
    corners = (mesh_ijk.vertices[mesh_ijk.triangles] - grid.to_canonical[0, 3]) / grid.factor
    rows, columns, heights = _crossings(corners, grid.size)
    counts = np.zeros((grid.size, grid.size, grid.size + 1), dtype=np.int32)
    # A crossing at height h changes the parity of all centres above it.
    above = np.clip(np.ceil(heights).astype(int), 0, grid.size)
    np.add.at(counts, (rows, columns, above), 1)
    return np.asarray(np.cumsum(counts, axis=2)[:, :, : grid.size] % 2 == 1)


def _crossings(corners: FloatArray, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """Find where grid lines along the last axis pass through triangles: row, column and height of each crossing."""
    low = np.clip(np.floor(corners[..., :2].min(axis=1)).astype(int), 0, size - 1)
    high = np.clip(np.ceil(corners[..., :2].max(axis=1)).astype(int), 0, size - 1)
    extent = high - low + 1
    per_triangle = extent[:, 0] * extent[:, 1]
    owner = np.repeat(np.arange(len(corners)), per_triangle)
    number = np.arange(per_triangle.sum()) - np.repeat(np.cumsum(per_triangle) - per_triangle, per_triangle)
    rows = low[owner, 0] + number // extent[owner, 1]
    columns = low[owner, 1] + number % extent[owner, 1]
    a, b, c = (corners[owner, corner] for corner in range(3))
    x, y = rows + _SHIFT[0], columns + _SHIFT[1]
    determinant = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    safe = np.where(determinant == 0.0, 1.0, determinant)
    v = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (y - a[:, 1])) / safe
    w = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (x - a[:, 0]) * (b[:, 1] - a[:, 1])) / safe
    hit = (determinant != 0.0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    height = a[:, 2] + v * (b[:, 2] - a[:, 2]) + w * (c[:, 2] - a[:, 2])
    return rows[hit], columns[hit], height[hit]


def signed_distance_mm(mesh_ijk: SurfaceMesh, grid: RenderGrid) -> Float32Array:
    """Give the distance of voxel centres to a closed surface in millimetres, negative inside.

    Exact to about 0.01 mm within 0.6 mm of the surface, to half a voxel beyond.

    Args:
        mesh_ijk: closed surface in canonical ijk.
        grid: where to ask.

    Returns:
        (n, n, n) float32 array.
    """
    within = inside(mesh_ijk, grid)
    if not within.any():
        raise ValueError("mesh: expected a closed surface that holds at least one voxel centre of the grid")
    step = grid.spacing_mm
    far = np.where(within, -distance_transform_edt(within), distance_transform_edt(~within)) * step
    far -= np.sign(far) * 0.5 * step
    band = np.argwhere(np.abs(far) < _BAND_MM)
    samples, normals = _sampled(mesh_ijk)
    centres = grid.centres
    points = centres[band] * CANONICAL_SPACING_MM
    distance, nearest = cKDTree(samples).query(points)
    # Close to the surface the nearest sample lies beside the foot point; the distance to its plane does not care.
    plane = np.abs(np.einsum("ij,ij->i", points - samples[nearest], normals[nearest]))
    distance = np.where(distance < 2 * _SAMPLE_MM, plane, distance)
    sign = np.where(within[tuple(band.T)], -1.0, 1.0)
    far[tuple(band.T)] = sign * distance
    return np.asarray(far, dtype=np.float32)


def _sampled(mesh_ijk: SurfaceMesh) -> tuple[FloatArray, FloatArray]:
    """Give points on the surface no further than about `_SAMPLE_MM` apart, in mm, and their unit normals."""
    corners = mesh_ijk.vertices[mesh_ijk.triangles] * CANONICAL_SPACING_MM
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    corners, normals = corners[length > 0], normals[length > 0] / length[length > 0, None]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    parts = np.maximum(1, np.ceil(edges / _SAMPLE_MM).astype(int))
    points, directions = [], []
    for count in np.unique(parts):
        chosen = parts == count
        weights = _barycentric(int(count))
        points.append(np.einsum("wc,tcd->twd", weights, corners[chosen]).reshape(-1, 3))
        directions.append(np.repeat(normals[chosen], len(weights), axis=0))
    return np.concatenate(points), np.concatenate(directions)


def _barycentric(count: int) -> FloatArray:
    """Give the (n, 3) barycentric centres of the count² small triangles a triangle divides into."""
    step = 1.0 / count
    upright = [((i + 1 / 3) * step, (j + 1 / 3) * step) for i in range(count) for j in range(count - i)]
    turned = [((i + 2 / 3) * step, (j + 2 / 3) * step) for i in range(count - 1) for j in range(count - 1 - i)]
    pairs = np.array(upright + turned)
    return np.column_stack([pairs, 1.0 - pairs.sum(axis=1)])
