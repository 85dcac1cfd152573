"""Surfaces without their smaller pieces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import piece_of_triangles


def largest_piece(mesh: SurfaceMesh) -> SurfaceMesh:
    """Give the connected piece of the largest area, with the vertices it uses in their order."""
    if not len(mesh.triangles):
        return mesh
    pieces = piece_of_triangles(mesh)
    corners = mesh.vertices[mesh.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    largest = int(np.argmax(np.bincount(pieces, np.linalg.norm(faces, axis=1))))
    kept = mesh.triangles[pieces == largest]
    used, inverse = np.unique(kept, return_inverse=True)
    triangles = inverse.reshape(-1, 3).astype(np.int32)
    data = {name: values[used] for name, values in mesh.point_data.items()}
    return replace(mesh, vertices=mesh.vertices[used], triangles=triangles, point_data=data)
