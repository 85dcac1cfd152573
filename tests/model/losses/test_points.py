"""Distances of corresponding points against written-out sums and geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.errors import InputError
from model.losses.points import point_to_plane, point_to_point, split_structures, structures_with_truth


def sets(seed: int, batch: int, count: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    first, second = (torch.from_numpy(rng.normal(0, 20, (batch, count, 3))) for _ in range(2))
    return first, second


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 12))
def test_distances_are_those_of_a_loop(seed: int, batch: int, count: int) -> None:
    first, second = sets(seed, batch, count)
    pairs = zip(first.reshape(-1, 3).numpy(), second.reshape(-1, 3).numpy(), strict=True)
    lengths = [np.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))) for a, b in pairs]
    assert point_to_point(first, second).item() == pytest.approx(np.mean(lengths))
    assert point_to_point(first, second, squared=True).item() == pytest.approx(np.mean(np.square(lengths)))
    assert point_to_point(first, second, smoothing=4.0).item() == pytest.approx(
        np.mean(np.sqrt(np.square(lengths) + 4))
    )
    weights = torch.from_numpy(np.random.default_rng(seed + 1).uniform(0.1, 2, (batch, count)))
    assert point_to_point(first, second, weights).item() == pytest.approx(
        np.average(lengths, weights=weights.flatten())
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(-5, 5))
def test_only_the_way_along_the_normal_counts(seed: int, along: float, across: float) -> None:
    true, normals = sets(seed, 2, 6)
    normals = normals / normals.norm(dim=-1, keepdim=True)
    tangents = torch.linalg.cross(normals, normals.roll(1, dims=-1))
    tangents = tangents / tangents.norm(dim=-1, keepdim=True)
    predicted = true + along * normals + across * tangents
    assert point_to_plane(predicted, true, normals).item() == pytest.approx(abs(along), abs=1e-9)
    assert point_to_plane(predicted, true, -normals).item() == pytest.approx(abs(along), abs=1e-9)


def test_gradients_are_those_of_finite_differences_and_zero_at_the_goal() -> None:
    first, second = sets(3, 2, 4)
    normals = torch.nn.functional.normalize(sets(4, 2, 4)[0], dim=-1)
    first.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: point_to_point(p, second), first)
    assert torch.autograd.gradcheck(lambda p: point_to_point(p, second, squared=True, smoothing=0.0), first)
    assert torch.autograd.gradcheck(lambda p: point_to_plane(p, second, normals), first)
    at_goal = second.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(point_to_point(at_goal, second), at_goal)
    assert torch.count_nonzero(gradient) == 0


def test_half_precision_points_are_summed_in_single_precision() -> None:
    first, second = sets(5, 1, 3000)
    rounded = point_to_point(first.bfloat16(), second.bfloat16())
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(point_to_point(first, second).item(), rel=1e-2)


def test_shapes_that_do_not_fit_are_refused() -> None:
    first, second = sets(6, 2, 5)
    with pytest.raises(ValueError, match="one shape"):
        point_to_point(first, second[:, :4])
    with pytest.raises(ValueError, match="weights"):
        point_to_point(first, second, torch.ones(2, 4))
    with pytest.raises(ValueError, match="normals"):
        point_to_plane(first, second, first[:1])


def test_structures_are_parted_in_order() -> None:
    points, _ = sets(7, 2, 9)
    parts = split_structures(points, {"b": 4, "a": 5})
    assert list(parts) == ["b", "a"]
    torch.testing.assert_close(parts["a"], points[:, 4:])
    with pytest.raises(ValueError, match=r"\(B, 8, 3\)"):
        split_structures(points, {"b": 4, "a": 4})


def test_structures_without_truth_are_left_out_and_unknown_ones_refused() -> None:
    points, _ = sets(8, 1, 3)
    predicted = {"a": points, "b": points, "c": points}
    assert structures_with_truth(predicted, {"c": points, "b": points[:, :0], "a": points}) == ["a", "c"]
    with pytest.raises(InputError, match="no structure has true points"):
        structures_with_truth(predicted, {"b": points[:, :0]})
    with pytest.raises(InputError, match="found d"):
        structures_with_truth(predicted, {"d": points})
