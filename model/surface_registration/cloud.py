"""A surface as evenly spread points with normals, for finding which point lies on which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from model.evaluation.distances import sample_surface
from model.meshes.mesh import FloatArray, SurfaceMesh

_NEIGHBOURS = 12
"""Samples over which normals are averaged: a disc about 0.5 mm wide, so that the steps of a voxel mask do not count."""
_RIM_PIECES = 32
"""Most pieces that an edge of a hole is cut into."""


@dataclass(frozen=True)
class SurfaceCloud:
    """Points spread evenly over a surface in millimetres, whatever its triangles.

    Attributes:
        points: (N, 3) positions.
        normals: (N, 3) unit normals, averaged over neighbouring points.
        at_border: (N,) whether the surface ends close by, at a hole or a cut.
    """

    points: FloatArray
    normals: FloatArray
    at_border: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, mesh_mm: SurfaceMesh) -> SurfaceCloud:
        """Sample a surface, open or closed, wound outward."""
        samples = sample_surface(mesh_mm)
        near = cKDTree(samples.points).query(samples.points, k=_NEIGHBOURS)[1]
        around = samples.normals[near]
        # The other wall of a thin canal is a neighbour as well; it faces away.
        same_wall = (np.einsum("nkc,nc->nk", around, samples.normals) > 0).astype(np.float64)
        mean = np.einsum("nkc,nk->nc", around, same_wall)
        normals = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        rim = border_points(mesh_mm, samples.spacing)
        at_border = np.zeros(len(samples.points), dtype=np.bool_)
        if len(rim):
            at_border = cKDTree(rim).query(samples.points)[0] < 2 * samples.spacing
        return cls(samples.points, normals, at_border)

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree of the positions."""
        return cKDTree(self.points)

    def thinned(self, count: int) -> SurfaceCloud:
        """Give at least `count` of the points, evenly spread; all of them when there are fewer than twice as many."""
        step = max(1, len(self.points) // count)
        return SurfaceCloud(self.points[::step], self.normals[::step], self.at_border[::step])


def border_points(mesh_mm: SurfaceMesh, spacing: float) -> FloatArray:
    """Give points along the edges that belong to one triangle only, about `spacing` apart; (0, 3) when closed."""
    edges = np.sort(mesh_mm.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    start, end = (mesh_mm.vertices[unique[counts == 1, side]] for side in range(2))
    if not len(start):
        return np.zeros((0, 3))
    pieces = int(np.ceil(np.linalg.norm(end - start, axis=1).max() / spacing)) + 1
    shares = np.linspace(0, 1, min(pieces, _RIM_PIECES))[:, None, None]
    return np.asarray((start + shares * (end - start)).reshape(-1, 3))
