"""Triangles that a deformation has turned over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.meshes.mesh import FloatArray, SurfaceMesh
from model.meshes.topology import vertex_normals


def flipped_triangles(before: SurfaceMesh, after: SurfaceMesh) -> npt.NDArray[np.bool_]:
    """Find the triangles that face against the surface around them after a deformation and did not before.

    Args:
        before: surface wound outward.
        after: the same triangles with other vertices.

    Returns:
        (M,) True for triangles whose normal makes more than a right angle with the mean normal at their corners, or
        that have lost their area.
    """
    return np.asarray((_facing(after) <= 0) & (_facing(before) > 0))


def _facing(mesh: SurfaceMesh) -> FloatArray:
    """Give (M,) the sign of the agreement between triangles and the surface at their corners."""
    corners = mesh.vertices[mesh.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    around = vertex_normals(mesh)[mesh.triangles].sum(axis=1)
    return np.asarray(np.sign(np.einsum("nc,nc->n", faces, around)))
