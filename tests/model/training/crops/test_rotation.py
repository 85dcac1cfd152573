"""Image and points are turned alike; held against scipy's own resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, center_of_mass
from scipy.spatial.transform import Rotation

from model.training.crops.rotation import draw_rotation, rotate_image, rotate_points

GRID = (18, 22, 26)
"""Unequal sides, so that swapped axes show."""

CENTRE = (np.array(GRID) - 1) / 2
seeds = st.integers(0, 10_000)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.5, 180))
def test_a_rotation_is_about_one_axis_and_within_its_limit(seed: int, largest: float) -> None:
    vector = Rotation.from_matrix(draw_rotation(np.random.default_rng(seed), largest)).as_rotvec(degrees=True)
    assert np.count_nonzero(np.abs(vector) > 1e-9) <= 1
    assert np.linalg.norm(vector) <= largest + 1e-6


def test_all_axes_and_both_directions_are_drawn() -> None:
    rng = np.random.default_rng(0)
    vectors = np.array([Rotation.from_matrix(draw_rotation(rng, 15)).as_rotvec(degrees=True) for _ in range(200)])
    assert (np.abs(vectors).max(axis=0) > 13).all()
    assert (vectors.min(axis=0) < 0).all()
    assert (vectors.max(axis=0) > 0).all()


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(-1, 1))
def test_an_image_turns_as_scipy_turns_it(seed: int, fill: float) -> None:
    rng = np.random.default_rng(seed)
    image, matrix = rng.normal(size=GRID), draw_rotation(rng, 40)
    turned = rotate_image(torch.from_numpy(image)[None], matrix, fill)[0].numpy()
    offset = CENTRE - matrix.T @ CENTRE
    expected = affine_transform(image, matrix.T, offset, order=1, mode="grid-constant", cval=fill)
    np.testing.assert_allclose(turned, expected, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_blob_stays_at_its_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    place, matrix = rng.uniform(6, np.array(GRID) - 7), draw_rotation(rng, 15)
    offset = np.moveaxis(np.indices(GRID), 0, -1) - place
    blob = torch.from_numpy(np.exp(-(offset**2).sum(-1) / (2 * 1.2**2)))
    turned = rotate_image(blob[None], matrix, 0.0)[0].numpy()
    found = np.array(center_of_mass(turned))
    np.testing.assert_allclose(found, rotate_points(place[None], matrix, GRID)[0], atol=0.05)


@pytest.mark.parametrize("axis", "xyz")
def test_quarter_turns_are_exact(axis: str) -> None:
    image = np.random.default_rng(0).normal(size=(9, 9, 9))
    matrix = Rotation.from_euler(axis, 90, degrees=True).as_matrix()
    turned = rotate_image(torch.from_numpy(image)[None], matrix, 0.0)[0].numpy()
    for point in np.random.default_rng(1).integers(0, 9, (20, 3)):
        moved = np.rint(rotate_points(point[None], matrix, (9, 9, 9))[0]).astype(int)
        assert turned[tuple(moved)] == pytest.approx(image[tuple(point)], abs=1e-9)
