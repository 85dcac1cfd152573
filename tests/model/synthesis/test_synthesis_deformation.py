"""The random deformation: both directions, the dense field and the points say the same; nothing folds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

from model.errors import OptionError, RunError
from model.synthesis.deformation import DeformationOptions, random_deformation
from model.synthesis.grid import RenderGrid
from model.synthesis.splines import SplineField, sample

STILL = DeformationOptions(amplitudes_mm=(0.0, 0.0, 0.0), rotation_deg=0.0, translation_mm=0.0, scale=0.0, stretch=0.0)


@pytest.mark.parametrize("factor", [2, 4])
def test_dense_field_is_the_displacement_of_its_voxel_centres(factor: int) -> None:
    grid = RenderGrid(factor)
    deformation = random_deformation(np.random.default_rng(1))
    field = deformation.ddf(grid)
    voxels = np.random.default_rng(2).integers(0, grid.size, (200, 3))
    points = voxels * factor + (factor - 1) / 2
    expected = deformation.displace(points) - points
    assert field.shape == (3, grid.size, grid.size, grid.size)
    np.testing.assert_allclose(field[:, voxels[:, 0], voxels[:, 1], voxels[:, 2]].T, expected, atol=1e-3)


def test_there_and_back_is_the_start() -> None:
    deformation = random_deformation(np.random.default_rng(3))
    back = deformation.to_atlas(RenderGrid(1))
    points = np.random.default_rng(4).uniform(35, 92, (500, 3))
    ear = deformation.displace(points)
    returned = np.stack([map_coordinates(channel, ear.T, order=1) for channel in back], axis=1)
    assert np.linalg.norm(returned - points, axis=1).max() * 0.2 < 0.05


def test_a_box_of_the_inverse_is_the_part_of_the_whole() -> None:
    deformation = random_deformation(np.random.default_rng(5))
    box = (slice(3, 20), slice(10, 31), slice(40, 64))
    np.testing.assert_allclose(
        deformation.to_atlas(RenderGrid(2), box), deformation.to_atlas(RenderGrid(2))[(slice(None), *box)], atol=1e-4
    )


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), strength=st.floats(0.5, 6.0))
def test_no_deformation_folds(seed: int, strength: float) -> None:
    options = DeformationOptions(amplitudes_mm=(0.2 * strength, 0.2 * strength, 0.1 * strength))
    deformation = random_deformation(np.random.default_rng(seed), options)
    assert deformation.jacobian_determinant(RenderGrid(2)).min() > 0.2


def test_usual_size_of_the_differences() -> None:
    """The spread before registration is about 1 mm rms, of which 0.3 to 0.7 mm are shape."""
    points = np.random.default_rng(0).uniform(30, 98, (2000, 3))
    total, shape = [], []
    for seed in range(12):
        deformation = random_deformation(np.random.default_rng(seed))
        total.append(np.mean((deformation.displace(points) - points) ** 2) * 3)
        shape.append(np.mean(deformation.shape_field(RenderGrid(4)) ** 2) * 3)
    assert 0.6 < np.sqrt(np.mean(total)) * 0.2 < 1.4
    assert 0.3 < np.sqrt(np.mean(shape)) * 0.2 < 0.7


def test_equal_seeds_give_equal_maps() -> None:
    points = np.random.default_rng(0).uniform(0, 127, (50, 3))
    first, again, other = (random_deformation(np.random.default_rng(seed)).displace(points) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


def test_a_mode_moves_along_its_own_axis_at_its_own_place() -> None:
    modes = np.zeros((1, 3, 5, 5, 5))
    modes[0, 1, 3, 2, 1] = 4.0
    deformation = random_deformation(np.random.default_rng(0), STILL, modes)
    node = np.array([[3, 2, 1]]) * 127 / 4
    moved = deformation.displace(node) - node
    coefficient = moved[0, 1] / 4.0
    assert 0.01 < abs(coefficient) <= 2.5
    np.testing.assert_allclose(moved[0, [0, 2]], 0.0, atol=1e-9)
    swapped = deformation.displace(node[:, ::-1]) - node[:, ::-1]
    assert abs(swapped[0, 1]) < 0.3 * abs(moved[0, 1])


def test_modes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="modes"):
        random_deformation(np.random.default_rng(0), None, np.zeros((2, 2, 5, 5, 5)))


def test_a_field_that_cannot_be_unfolded_is_refused() -> None:
    with pytest.raises(RunError):
        random_deformation(np.random.default_rng(0), DeformationOptions(amplitudes_mm=(60.0, 60.0, 60.0)))


def test_spline_field_matches_scipy_splines() -> None:
    rng = np.random.default_rng(0)
    coefficients = np.zeros((1, 9, 9, 9))
    line = rng.standard_normal(9)
    coefficients[0] = line[:, None, None]
    field = SplineField(coefficients, -20.0, 20.0)
    where = np.linspace(5.0, 95.0, 13)
    reference = BSpline(np.arange(-2.0, 11.0), line, 3)((where + 20.0) / 20.0)
    dense = field.on_axes(where)
    np.testing.assert_allclose(dense[0, :, 4, 7], reference, atol=1e-5)
    points = np.column_stack([where, np.full(13, 44.0), np.full(13, 61.0)])
    np.testing.assert_allclose(field.at_points(points)[:, 0], reference, atol=1e-9)


def test_sampling_matches_scipy() -> None:
    rng = np.random.default_rng(0)
    fields = rng.standard_normal((2, 6, 7, 8)).astype(np.float32)
    points = rng.uniform(-2, 9, (3, 40, 5)).astype(np.float32)
    expected = [map_coordinates(field, points, order=1, mode="nearest") for field in fields]
    np.testing.assert_allclose(sample(fields, points), expected, atol=1e-5)


def test_grids_cover_the_crop() -> None:
    fine, coarse = RenderGrid.of_spacing(0.2), RenderGrid.of_spacing(0.4)
    np.testing.assert_allclose(coarse.centres, fine.centres.reshape(-1, 2).mean(axis=1))
    np.testing.assert_allclose(coarse.to_canonical @ [5, 0, 63, 1], [10.5, 0.5, 126.5, 1])
    for spacing in (0.3, 0.6, 0.0):
        with pytest.raises(OptionError):
            RenderGrid.of_spacing(spacing)
