"""Smoothing keeps size and correspondence."""

from __future__ import annotations

import numpy as np
import pytest
from surfaces import sphere, torus

from model.meshes.smoothing import smooth_to_volume, taubin_smooth, umbrella


def test_the_umbrella_averages_neighbours() -> None:
    ball = sphere(1.0, level=1)
    mean = umbrella(ball) @ ball.vertices
    for vertex in range(len(ball.vertices)):
        touching = ball.triangles[(ball.triangles == vertex).any(axis=1)]
        neighbours = np.setdiff1d(touching, [vertex])
        np.testing.assert_allclose(mean[vertex], ball.vertices[neighbours].mean(axis=0), atol=1e-12)


def test_noise_goes_and_volume_stays() -> None:
    ball = sphere(10.0, (5.0, 6.0, 7.0), level=4)
    noise = np.random.default_rng(0).normal(0, 0.15, ball.vertices.shape)
    smooth = taubin_smooth(ball.with_vertices(ball.vertices + noise), iterations=10)
    before = np.std(np.linalg.norm(ball.vertices + noise - [5, 6, 7], axis=1))
    after = np.std(np.linalg.norm(smooth.vertices - [5, 6, 7], axis=1))
    assert after < 0.5 * before
    assert abs(smooth.signed_volume / ball.signed_volume - 1) < 0.01
    assert np.array_equal(smooth.triangles, ball.triangles)
    np.testing.assert_allclose(smooth.vertices.mean(axis=0), [5, 6, 7], atol=0.05)


def test_no_iterations_change_nothing() -> None:
    ball = sphere(1.0, level=2)
    assert np.array_equal(taubin_smooth(ball, iterations=0).vertices, ball.vertices)


def test_a_smoothed_surface_has_the_volume_asked_for() -> None:
    ring = torus(10.0, 2.0, (3.0, 4.0, 5.0), sides=24, turns=80)
    noise = np.random.default_rng(1).normal(0, 0.1, ring.vertices.shape)
    smooth = smooth_to_volume(ring.with_vertices(ring.vertices + noise), 30, ring.signed_volume)
    assert smooth.signed_volume == pytest.approx(ring.signed_volume, rel=1e-4)
    local = smooth.vertices - [3, 4, 5]
    across = np.hypot(np.hypot(local[:, 0], local[:, 1]) - 10.0, local[:, 2])
    assert np.std(across) < 0.05
    assert across.mean() == pytest.approx(2.0, abs=0.02)
