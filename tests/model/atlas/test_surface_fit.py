"""Surface fits on shapes whose correspondence is known."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from surfaces import sphere, torus

from model.atlas.surface_fit import FitOptions, fit_surface, vertex_normals
from model.meshes import topology
from model.meshes.mesh import SurfaceMesh
from model.registration.control_grid import expand_all, sample_spanning

GRID = (40, 44, 48)
CENTRE = np.array([19.0, 22.0, 24.0])
OPTIONS = FitOptions(levels=(4, 6, 8), steps=40, points=1200, field_samples=20, stiffness=1.0)


def ellipsoid(radii: tuple[float, float, float]) -> SurfaceMesh:
    """Give an ellipsoid with a triangulation of its own."""
    unit = sphere(1.0, level=4)
    turned = unit.vertices @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    mesh = SurfaceMesh(turned * radii + CENTRE, unit.triangles, "ijk")
    return mesh if mesh.signed_volume > 0 else mesh.flipped()


def test_a_sphere_becomes_an_ellipsoid() -> None:
    radii = (8.0, 10.0, 12.5)
    template, target = sphere(10.0, CENTRE + 1.0, level=4), ellipsoid(radii)
    fit = fit_surface(template, target, GRID, seed=0, options=OPTIONS)
    # Points of an ellipsoid are at one in units of its radii.
    level = np.linalg.norm((fit.vertices_ijk - CENTRE) / radii, axis=1)
    assert abs(level.mean() - 1) < 0.02
    assert np.abs(level - 1).max() < 0.1
    assert fit.distance < 0.6
    moved = template.with_vertices(fit.vertices_ijk)
    assert abs(moved.signed_volume / target.signed_volume - 1) < 0.04


def test_the_coefficients_are_the_field_that_moved_the_vertices() -> None:
    template = sphere(9.0, CENTRE, level=3)
    options = FitOptions(levels=(4, 6), steps=8, points=300, field_samples=20)
    fit = fit_surface(template, ellipsoid((8.0, 10.0, 12.0)), GRID, seed=1, options=options)
    assert [level.shape for level in fit.coefficients] == [(3, 4, 4, 4), (3, 6, 6, 6)]
    field = expand_all([torch.from_numpy(level) for level in fit.coefficients], (20,) * 3)
    points = torch.from_numpy(template.vertices).float()
    again = (points + sample_spanning(field, points, GRID)).numpy()
    np.testing.assert_allclose(again, fit.vertices_ijk, atol=1e-4)
    forward = cKDTree(ellipsoid((8.0, 10.0, 12.0)).vertices).query(fit.vertices_ijk)[0].mean()
    assert 0 < forward < 2 * fit.distance + 1e-9


def test_the_seed_decides() -> None:
    template, target = sphere(9.0, CENTRE, level=3), ellipsoid((8.0, 10.0, 12.0))
    options = FitOptions(levels=(4,), steps=4, points=100, field_samples=12)
    one, same, other = (fit_surface(template, target, GRID, seed=seed, options=options) for seed in (1, 1, 2))
    assert np.array_equal(one.vertices_ijk, same.vertices_ijk)
    assert not np.array_equal(one.vertices_ijk, other.vertices_ijk)


def test_normals_point_outward_and_agree_with_those_of_the_mesh_package() -> None:
    ball = sphere(5.0, CENTRE, level=3)
    normals = vertex_normals(ball)
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-9
    assert ((ball.vertices - CENTRE) / 5 * normals).sum(axis=1).min() > 0.99
    ring = torus(10.0, 3.0, CENTRE, sides=20, turns=40)
    np.testing.assert_allclose(vertex_normals(ring), topology.vertex_normals(ring), atol=1e-9)
