"""Smoothing of surfaces that keeps their volume."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags

from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import vertex_normals

_CORRECTIONS = 3
"""Newton steps to the volume; the second one is right to a thousandth already."""


def umbrella(mesh: SurfaceMesh) -> csr_matrix:
    """Give the (N, N) matrix that replaces every vertex by the mean of its neighbours."""
    count = len(mesh.vertices)
    a, b = mesh.triangles[:, [0, 1, 2]].ravel(), mesh.triangles[:, [1, 2, 0]].ravel()
    ones = np.ones(2 * len(a))
    adjacency = coo_matrix((ones, (np.r_[a, b], np.r_[b, a])), shape=(count, count)).tocsr()
    adjacency.data[:] = 1.0
    degree = np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1)
    return csr_matrix(diags(1 / degree) @ adjacency)


def taubin_smooth(mesh: SurfaceMesh, iterations: int, shrink: float = 0.5, grow: float = -0.53) -> SurfaceMesh:
    """Smooth a surface without shrinking it.

    Args:
        mesh: any triangle surface.
        iterations: pairs of a shrinking and a growing step.
        shrink: factor of the shrinking step, positive.
        grow: factor of the growing step, negative and larger in size.

    Returns:
        The surface with moved vertices.

    Source: Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995.
    """
    mean = umbrella(mesh)
    vertices = mesh.vertices
    for _ in range(iterations):
        for factor in (shrink, grow):
            vertices = vertices + factor * (mean @ vertices - vertices)
    return mesh.with_vertices(vertices)


def smooth_keeping_volume(mesh: SurfaceMesh, iterations: int) -> SurfaceMesh:
    """Smooth a closed surface and give it back the volume that this took or added.

    Args:
        mesh: closed surface, wound outward.
        iterations: as in `taubin_smooth`, after which all vertices move by one distance along their normals; none
            leave the surface as it is.
    """
    if not iterations:
        return mesh
    smooth = taubin_smooth(mesh, iterations)
    for _ in range(_CORRECTIONS):
        corners = smooth.vertices[smooth.triangles]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = vertex_normals(smooth)
        # Derivative of the volume when all vertices move along their normals by one distance.
        rate = float(np.einsum("mc,mkc->", faces / 6, normals[smooth.triangles]))
        if rate <= 0:
            break
        lacking = mesh.signed_volume - smooth.signed_volume
        smooth = smooth.with_vertices(smooth.vertices + lacking / rate * normals)
    return smooth
