"""The least-squares rigid fit, against known motions and an independent implementation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from volume_fixtures import pose

from model.geometry.rigid import fit_rigid, spread
from model.geometry.spaces import apply_affine

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SHIFTS = st.tuples(*[st.floats(-200, 200)] * 3)


@settings(max_examples=50)
@given(ANGLES, SHIFTS, st.integers(3, 8), st.integers(0, 1000))
def test_known_motion_is_found(
    angles: tuple[float, float, float], shift: tuple[float, float, float], count: int, seed: int
) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3)) * 4.0
    motion = pose(angles, shift)
    matrix, residuals = fit_rigid(points, apply_affine(motion, points))
    assert np.allclose(matrix, motion, atol=1e-8)
    assert residuals.shape == (count,)
    assert residuals.max() < 1e-8


@settings(max_examples=50)
@given(st.integers(0, 10000))
def test_noisy_fit_equals_that_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    source, target = generator.normal(size=(2, 5, 3))
    matrix, residuals = fit_rigid(source, target)
    rotation, rssd = Rotation.align_vectors(target - target.mean(axis=0), source - source.mean(axis=0))
    assert np.linalg.det(matrix[:3, :3]) > 0
    assert np.isclose(np.sqrt((residuals**2).sum()), rssd, atol=1e-6)
    assert np.allclose(matrix[:3, :3], rotation.as_matrix(), atol=1e-5)


def test_spread_tells_lines_and_planes() -> None:
    line = np.outer(np.arange(4.0), [1.0, 2.0, -1.0]) + 5.0
    assert spread(line)[1] < 1e-9
    plane = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [3, 2, 0]])
    assert np.allclose(spread(plane), [3.0, 2.0, 0.0])
    assert spread(plane[:3])[2] < 1e-9
