"""Connectivity of surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from surfaces import box, sphere, torus

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh
from model.meshes.topology import (
    count_open_edges,
    count_pieces,
    euler_characteristic,
    genus,
    require_closed,
    vertex_normals,
)


def both(first: SurfaceMesh, second: SurfaceMesh) -> SurfaceMesh:
    vertices = np.concatenate([first.vertices, second.vertices])
    return SurfaceMesh(vertices, np.concatenate([first.triangles, second.triangles + len(first.vertices)]), "ijk")


def test_known_surfaces_have_their_genus() -> None:
    assert euler_characteristic(sphere(1.0, level=2)) == 2
    assert genus(sphere(1.0, level=2)) == 0
    assert genus(torus(5.0, 1.0)) == 1
    pair = both(torus(5.0, 1.0), sphere(1.0, (20, 0, 0), level=1))
    assert (count_pieces(pair), genus(pair)) == (2, 1)


def test_closed_surfaces_have_no_open_edges_and_holes_are_counted() -> None:
    mesh = sphere(1.0, level=2)
    require_closed(mesh)
    assert count_open_edges(mesh.triangles) == 0
    assert count_open_edges(mesh.triangles[1:]) == 3


def test_one_triangle_wound_the_other_way_is_not_closed() -> None:
    mesh = box((0, 0, 0), (1, 1, 1))
    triangles = mesh.triangles.copy()
    triangles[0] = triangles[0, ::-1]
    with pytest.raises(MeshError, match="edges without a matching neighbour"):
        require_closed(SurfaceMesh(mesh.vertices, triangles, "ijk"))


def test_empty_and_unfinite_surfaces_are_refused() -> None:
    with pytest.raises(MeshError, match="empty"):
        require_closed(SurfaceMesh(np.zeros((3, 3)), np.zeros((0, 3), dtype=np.int32), "ijk"))
    mesh = sphere(1.0, level=0)
    with pytest.raises(MeshError, match="not finite"):
        require_closed(mesh.with_vertices(mesh.vertices * np.nan))


def test_vertex_normals_point_out_of_a_sphere() -> None:
    mesh = sphere(3.0, (1, 2, 3), level=3)
    expected = (mesh.vertices - [1, 2, 3]) / 3.0
    assert np.abs(vertex_normals(mesh) - expected).max() < 0.04
    mirrored = mesh.transformed(np.diag([-1.0, 1, 1, 1]), "ras")
    outward = np.einsum("ij,ij->i", vertex_normals(mirrored), mirrored.vertices - [-1, 2, 3])
    assert (outward > 2.99).all()
