"""The two sampling rules: exact where they should be, and equal to independent implementations."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import map_coordinates

from model.registration.rules import SamplerRule
from model.registration.sampler import sample_field
from model.registration.warp import warp_vertices

Floats = npt.NDArray[np.float64]
GRID = (6, 7, 9)
RULES: list[SamplerRule] = ["trilinear", "published"]

numbers = st.floats(-10, 10, allow_nan=False, width=32)
unit_points = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(0, 1))
any_points = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(-5, 15))


def irregular_field(channels: int = 3, grid: tuple[int, ...] = GRID) -> Floats:
    """Give a field without symmetry."""
    return np.random.default_rng(4).normal(size=(channels, *grid))


def linear_field(slope: Floats, offset: Floats) -> Floats:
    """Give offset + slope @ ijk on the grid; slope is (3, 3)."""
    ijk = np.stack(np.meshgrid(*(np.arange(size) for size in GRID), indexing="ij")).astype(np.float64)
    field: Floats = np.einsum("ca,aijk->cijk", slope, ijk) + offset[:, None, None, None]
    return field


def sample(field: Floats, points: Floats, rule: SamplerRule = "trilinear") -> Floats:
    """Sample numpy arrays."""
    return sample_field(torch.from_numpy(field), torch.from_numpy(points), rule).numpy()


@settings(deadline=None)
@given(arrays(np.float64, 3, elements=numbers), any_points)
def test_constant_field_is_exact_everywhere(value: Floats, points: Floats) -> None:
    field = np.broadcast_to(value[:, None, None, None], (3, *GRID)).copy()
    for rule in RULES:
        np.testing.assert_allclose(sample(field, points, rule), np.broadcast_to(value, points.shape), atol=1e-9)


@settings(deadline=None)
@given(arrays(np.float64, (3, 3), elements=numbers), arrays(np.float64, 3, elements=numbers), unit_points)
def test_linear_field_is_exact_inside(slope: Floats, offset: Floats, unit: Floats) -> None:
    points = unit * (np.array(GRID) - 1)
    np.testing.assert_allclose(sample(linear_field(slope, offset), points), points @ slope.T + offset, atol=1e-8)


@settings(deadline=None)
@given(any_points)
def test_trilinear_equals_scipy_with_border_values(points: Floats) -> None:
    field = irregular_field()
    expected = [map_coordinates(channel, points.T, order=1, mode="nearest") for channel in field]
    np.testing.assert_allclose(sample(field, points), np.stack(expected, axis=1), atol=1e-9)


@settings(deadline=None)
@given(arrays(np.float64, 3, elements=st.floats(1.0, 3.999)))
def test_published_rule_swaps_the_weights_of_the_first_two_axes(point: Floats) -> None:
    field = irregular_field()
    cell = np.floor(point).astype(int)
    weight = (point - cell)[[1, 0, 2]]
    expected = np.zeros(3)
    for corner in itertools.product((0, 1), repeat=3):
        share = np.prod([w if step else 1 - w for w, step in zip(weight, corner, strict=True)])
        i, j, k = cell + corner
        expected += share * field[:, i, j, k]
    np.testing.assert_allclose(sample(field, point[None], "published")[0], expected, atol=1e-9)


def test_published_rule_is_not_exact_for_a_linear_field() -> None:
    field = linear_field(np.diag([1.0, 0.0, 0.0]), np.zeros(3))
    found = sample(field, np.array([[2.25, 3.75, 4.0]]), "published")
    np.testing.assert_allclose(found, [[2.75, 0.0, 0.0]])


def test_published_rule_clamps_points_below_the_last_voxel() -> None:
    field = irregular_field()
    inside = np.array([[4.0, 5.0, 7.0]])
    beyond = np.array([[5.0, 6.9, 40.0]])
    np.testing.assert_allclose(sample(field, beyond, "published"), sample(field, inside, "published"))


def test_published_rule_continues_the_first_cell_linearly() -> None:
    ramp = linear_field(np.diag([0.0, 0.0, 1.0]), np.zeros(3))
    np.testing.assert_allclose(sample(ramp, np.array([[2.0, 2.0, 0.25]]), "published"), [[0.0, 0.0, 0.25]], atol=1e-12)


@settings(deadline=None)
@given(any_points)
def test_order_of_points_does_not_matter(points: Floats) -> None:
    order = np.random.default_rng(len(points)).permutation(len(points))
    for rule in RULES:
        values = sample(irregular_field(), points, rule)
        np.testing.assert_array_equal(sample(irregular_field(), points[order], rule), values[order])


@pytest.mark.parametrize("rule", RULES)
def test_batch_equals_one_by_one(rule: SamplerRule) -> None:
    fields = torch.from_numpy(np.stack([irregular_field(), irregular_field()[::-1]]))
    points = torch.from_numpy(np.random.default_rng(1).uniform(-2, 10, (2, 20, 3)))
    together = sample_field(fields, points, rule)
    alone = torch.stack([sample_field(f, p, rule) for f, p in zip(fields, points, strict=True)])
    assert torch.equal(together, alone)


def test_voxel_centres_give_voxel_values() -> None:
    field = irregular_field()
    ijk = np.stack(np.meshgrid(*(np.arange(size) for size in GRID), indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(sample(field, ijk.astype(np.float64)), field.reshape(3, -1).T, atol=1e-12)


def test_gradients_are_right() -> None:
    field = torch.from_numpy(irregular_field(2, (4, 4, 5))).requires_grad_()
    points = torch.tensor([[1.2, 2.3, 3.4], [0.6, 1.7, 2.2]], dtype=torch.float64, requires_grad=True)
    for rule in RULES:
        assert torch.autograd.gradcheck(lambda f, p, r=rule: sample_field(f, p, r), (field, points))


def test_warp_moves_points_by_the_field() -> None:
    ddf = torch.zeros(3, *GRID)
    ddf[1] = 2.5
    points = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.25, 7.75]])
    assert torch.allclose(warp_vertices(points, ddf), points + torch.tensor([0.0, 2.5, 0.0]))


@pytest.mark.parametrize(
    ("field", "points"),
    [((3, 4, 4), (2, 3)), ((3, 4, 4, 4), (2, 2)), ((3, 4, 4, 4), (1, 2, 3)), ((2, 3, 4, 4, 4), (1, 5, 3))],
)
def test_shapes_that_do_not_fit_are_refused(field: tuple[int, ...], points: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        sample_field(torch.zeros(field), torch.zeros(points))


def test_small_fields_and_other_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="published"):
        sample_field(torch.zeros(3, 3, 4, 4), torch.zeros(1, 3), "published")
    with pytest.raises(ValueError, match="three channels"):
        warp_vertices(torch.zeros(1, 3), torch.zeros(2, 4, 4, 4))
