"""The parts of surface registration, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from surfaces import rotation, sphere

from model.geometry.spaces import apply_affine
from model.meshes.mesh import SurfaceMesh
from model.surface_registration.cloud import SurfaceCloud
from model.surface_registration.flips import flipped_triangles
from model.surface_registration.pairs import PairRule, Patient, find_pulls
from model.surface_registration.rigid import align_rigid
from model.surface_registration.spline_field import SplineField


def lopsided() -> SurfaceMesh:
    """A closed surface without any symmetry, about 10 mm wide."""
    ball = sphere(1.0, level=4, space="ras")
    x, y, z = ball.vertices.T
    radius = 4 + 1.2 * x + 0.9 * y * z + 0.8 * x**2 * y - 0.6 * z
    return ball.with_vertices(ball.vertices * radius[:, None] * [1.4, 1.0, 0.7])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=3, deadline=None)
def test_a_surface_is_placed_from_any_pose(seed: int) -> None:
    surface = lopsided()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation(seed), np.random.default_rng(seed).uniform(-40, 40, 3)
    fit = align_rigid(SurfaceCloud.of(surface), SurfaceCloud.of(surface.transformed(motion, "ras")))
    moved = apply_affine(fit.matrix, surface.vertices)
    assert np.abs(moved - apply_affine(motion, surface.vertices)).max() < 0.02
    assert np.linalg.det(fit.matrix[:3, :3]) == pytest.approx(1.0)


def test_affine_displacements_do_not_bend_and_pass_the_field() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-5, 6, (400, 3)) * [1.0, 0.7, 1.3]
    field = SplineField.around(points, 2.5)
    np.testing.assert_allclose(np.asarray(field.basis.sum(axis=1)).ravel(), 1.0)
    wanted = points @ random.normal(size=(3, 3)) + random.normal(size=3)
    nodes = np.arange(0, 400, 2)
    got = field.fit(nodes, wanted[nodes], random.uniform(0.5, 2, len(nodes)), smooth_mm=50.0)
    np.testing.assert_allclose(got, wanted, atol=1e-3)  # also at the points that were not asked


def test_bending_is_the_mean_square_of_second_derivatives() -> None:
    axis = np.linspace(0, 6, 13)
    points = np.array(list(itertools.product(axis, axis, axis)))
    field = SplineField.around(points, 2.0)
    x, y, _ = points.T
    for values, expected in ((x**2, 4.0), (x * y, 2.0), (3 * x - y, 0.0)):
        coefficients = np.linalg.lstsq(field.basis.toarray(), values, rcond=None)[0]
        np.testing.assert_allclose(field.basis @ coefficients, values, atol=1e-8)  # splines hold quadratics exactly
        assert coefficients @ (field.bending @ coefficients) == pytest.approx(expected, abs=1e-8)


def test_what_is_shorter_than_the_smooth_length_goes() -> None:
    points = np.random.default_rng(1).uniform(0, 10, (3000, 3))
    field = SplineField.around(points, 1.5)
    nodes, weights = np.arange(3000), np.ones(3000)
    for wave, low, high in ((20.0, 0.75, 1.02), (3.0, 0.0, 0.3)):
        wanted = np.sin(2 * np.pi * points[:, :1] / wave) * [1.0, 0.0, 0.0]
        got = field.fit(nodes, wanted, weights, smooth_mm=1.5)
        # At the free ends of the box waves flatten, long ones too.
        assert low < np.std(got[:, 0]) / np.std(wanted[:, 0]) < high


def test_pairs_beyond_a_rim_and_of_the_other_wall_do_not_count() -> None:
    ball = sphere(3.0, level=5, space="ras")
    open_ball = SurfaceMesh(
        ball.vertices, ball.triangles[ball.vertices[ball.triangles][:, :, 2].max(axis=1) < 2], "ras"
    )
    rule = PairRule(reach_mm=1.0, along=0.0)
    patient = Patient(SurfaceCloud.of(open_ball), rule.normal_mm)
    inner = sphere(2.8, level=3, space="ras")
    normals = inner.vertices / 2.8
    pulls = find_pulls(inner.vertices, normals, np.ones(len(normals)), patient, rule)
    cap, rest = inner.vertices[:, 2] > 2.3, inner.vertices[:, 2] < 1.2
    assert not pulls.weights[cap].any()
    assert (pulls.weights[rest] > 0).all()
    across = np.einsum("nc,nc->n", pulls.steps[rest], normals[rest])
    np.testing.assert_allclose(across, 0.2, atol=0.03)
    turned = find_pulls(inner.vertices, -normals, np.ones(len(normals)), patient, rule)
    assert turned.weights[rest].max() < 0.01 * pulls.weights[rest].max()


def test_only_triangles_that_turn_over_are_flipped() -> None:
    ball = sphere(5.0, level=3, space="ras")
    turned = ball.with_vertices(ball.vertices @ Rotation.from_euler("x", 170, degrees=True).as_matrix().T)
    assert not flipped_triangles(ball, turned).any()
    vertices = ball.vertices.copy()
    one, two, three = ball.triangles[40]
    vertices[one] += 2.5 * ((vertices[two] + vertices[three]) / 2 - vertices[one])  # over the edge across
    flipped = flipped_triangles(ball, ball.with_vertices(vertices))
    assert flipped[40]
    assert 1 <= flipped.sum() < 12
