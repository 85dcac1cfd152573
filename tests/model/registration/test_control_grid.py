"""Control grids against an independent B-spline and an independent interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

from model.registration.control_grid import bspline_basis, expand, expand_all, sample_spanning

GRIDS = st.tuples(st.integers(2, 40), st.integers(4, 14))


def scipy_basis(samples: int, controls: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Give the same basis from a general B-spline with uniform knots, three beyond either end."""
    knots = np.arange(-3.0, controls + 1.0)
    where = np.linspace(0, controls - 3, samples)
    return np.stack([BSpline(knots, row, 3)(where) for row in np.eye(controls)], axis=1)


@settings(max_examples=50, deadline=None)
@given(GRIDS)
def test_basis_sums_to_one_and_is_that_of_scipy(sizes: tuple[int, int]) -> None:
    basis = bspline_basis(*sizes).numpy()
    assert basis.shape == sizes
    assert basis.min() >= 0
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(basis, scipy_basis(*sizes), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(GRIDS, st.floats(-5, 5), st.floats(-5, 5))
def test_linear_coefficients_give_a_linear_function(sizes: tuple[int, int], slope: float, start: float) -> None:
    samples, controls = sizes
    # A control point stands for the knot one before its index.
    coefficients = slope * (np.arange(controls) - 1) + start
    values = bspline_basis(samples, controls).double().numpy() @ coefficients
    np.testing.assert_allclose(values, slope * np.linspace(0, controls - 3, samples) + start, atol=1e-5)


def test_fewer_than_four_control_points_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        bspline_basis(10, 3)


def test_expansion_is_the_tensor_product_of_scipy_splines() -> None:
    coefficients = np.random.default_rng(0).normal(size=(2, 4, 6, 5))
    shape = (7, 9, 11)
    parts = [scipy_basis(n, g) for n, g in zip(shape, coefficients.shape[1:], strict=True)]
    expected = np.einsum("cabd,ia,jb,kd->cijk", coefficients, *parts)
    dense = expand(torch.from_numpy(coefficients).float(), shape)
    assert dense.shape == (2, *shape)
    np.testing.assert_allclose(dense.numpy(), expected, atol=1e-5)


def test_levels_add_up() -> None:
    levels = [torch.randn(3, g, g, g) for g in (4, 6)]
    total = expand(levels[0], (5, 6, 7)) + expand(levels[1], (5, 6, 7))
    torch.testing.assert_close(expand_all(levels, (5, 6, 7)), total)
    with pytest.raises(ValueError, match="at least one"):
        expand_all([], (5, 6, 7))


def test_dense_values_at_voxel_centres_come_back_when_sampled() -> None:
    dense = expand(torch.randn(3, 5, 5, 5), (12, 14, 16))
    centres = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in (12, 14, 16)), indexing="ij"), -1)
    back = sample_spanning(dense, centres.reshape(-1, 3), (12, 14, 16))
    torch.testing.assert_close(back, dense.flatten(1).T, atol=1e-5, rtol=0)


def test_sampling_is_that_of_scipy_also_beyond_the_border() -> None:
    rng = np.random.default_rng(1)
    field, grid = rng.normal(size=(2, 5, 8, 6)), (20, 30, 40)
    points = rng.uniform(-6, 46, (400, 3))
    # The samples span the crop: sample a of n lies at voxel a * (grid - 1) / (n - 1).
    scale = np.array([(n - 1) / (size - 1) for n, size in zip(field.shape[1:], grid, strict=True)])
    expected = np.stack([map_coordinates(channel, (points * scale).T, order=1, mode="nearest") for channel in field], 1)
    found = sample_spanning(torch.from_numpy(field), torch.from_numpy(points), grid)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_points_outside_take_the_border_value() -> None:
    field = torch.arange(24.0).reshape(1, 2, 3, 4)
    points = torch.tensor([[-5.0, -5, -5], [99, 99, 99], [0, 0, 99]])
    assert sample_spanning(field, points, (10, 10, 10))[:, 0].tolist() == [0.0, 23.0, 3.0]
