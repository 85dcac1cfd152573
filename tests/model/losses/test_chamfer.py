"""The chamfer distance against a written-out brute-force search, and against PyTorch3D where it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.errors import InputError, OptionError
from model.losses.chamfer import chamfer, chamfer_of_structures
from model.losses.nearest import nearest_indices, search_in_blocks


def brute_force(first: Tensor, second: Tensor) -> Tensor:
    """The definition, over all pairs."""
    squares = (first[:, :, None] - second[:, None]).square().sum(-1)
    return squares.amin(2).mean() + squares.amin(1).mean()


def clouds(seed: int, batch: int, counts: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Points without ties: normal numbers are never equally far."""
    rng = np.random.default_rng(seed)
    first, second = (torch.from_numpy(rng.normal(60, 20, (batch, n, 3))).to(dtype).requires_grad_() for n in counts)
    return first, second


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_value_and_gradients_are_those_of_all_pairs(seed: int, batch: int, counts: tuple[int, int]) -> None:
    sets = clouds(seed, batch, counts)
    value, expected = chamfer(*sets, backend="own"), brute_force(*sets)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    for gradient, other in zip(torch.autograd.grad(value, sets), torch.autograd.grad(expected, sets), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)


def test_gradient_is_that_of_finite_differences() -> None:
    sets = clouds(1, 2, (7, 5), torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: chamfer(a, b, backend="own"), sets)


def test_pytorch3d_gives_the_same() -> None:
    pytest.importorskip("pytorch3d", reason="PyTorch3D is not installed; its chamfer distance is not compared")
    sets = clouds(2, 2, (300, 200))
    values = [chamfer(*sets, backend=backend) for backend in ("own", "pytorch3d")]
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value, sets) for value in values]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_pytorch3d_is_refused_where_it_is_not_installed_and_auto_does_without() -> None:
    if importlib.util.find_spec("pytorch3d") is not None:
        pytest.skip("PyTorch3D is installed")
    sets = clouds(3, 1, (4, 4))
    with pytest.raises(OptionError, match="PyTorch3D is not installed"):
        chamfer(*sets, backend="pytorch3d")
    torch.testing.assert_close(chamfer(*sets), chamfer(*sets, backend="own"))


def test_unknown_backends_are_refused() -> None:
    sets = clouds(3, 1, (4, 4))
    with pytest.raises(OptionError, match="found elsewhere"):
        chamfer(*sets, backend="elsewhere")  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 60))
def test_search_in_blocks_finds_what_the_trees_find(seed: int, batch: int, block: int) -> None:
    first, second = (points.detach() for points in clouds(seed, batch, (23, 17)))
    to_second, to_first = nearest_indices(first, second)
    torch.testing.assert_close(search_in_blocks(first, second, block), to_second)
    torch.testing.assert_close(search_in_blocks(second, first, block), to_first)


def test_points_far_from_the_origin_keep_their_neighbours() -> None:
    first, second = (points.detach() + 1e4 for points in clouds(4, 1, (2000, 2000)))
    torch.testing.assert_close(search_in_blocks(first, second), nearest_indices(first, second)[0])


def test_structures_apart_and_together() -> None:
    predicted, true = ({name: clouds(seed, 1, (n, 1))[0] for name, n in zip("ab", (9, 5), strict=True)} for seed, n in
                       ((5, 9), (6, 8)))  # fmt: skip
    apart = (brute_force(predicted["a"], true["a"]) + brute_force(predicted["b"], true["b"])) / 2
    torch.testing.assert_close(chamfer_of_structures(predicted, true, False), apart)
    together = brute_force(*(torch.cat([side["a"], side["b"]], dim=1) for side in (predicted, true)))
    torch.testing.assert_close(chamfer_of_structures(predicted, true, True), together)


@pytest.mark.parametrize("concatenated", [True, False])
def test_missing_structures_do_not_count(concatenated: bool) -> None:
    predicted = {name: clouds(seed, 1, (6, 1))[0] for seed, name in enumerate("abc")}
    true = {"b": clouds(7, 1, (4, 1))[0], "c": torch.zeros(1, 0, 3)}
    found = chamfer_of_structures(predicted, true, concatenated)
    torch.testing.assert_close(found, brute_force(predicted["b"], true["b"]))
    gradients = torch.autograd.grad(found, list(predicted.values()), allow_unused=True)
    assert gradients[0] is None
    assert gradients[2] is None
    with pytest.raises(InputError, match="no structure has true points"):
        chamfer_of_structures(predicted, {"c": torch.zeros(1, 0, 3)}, concatenated)


def test_shapes_that_do_not_fit_are_refused() -> None:
    first, second = clouds(8, 2, (4, 4))
    for bad in (second[:1], second[:, :0], second[..., :2], second[0]):
        with pytest.raises(ValueError, match="expected points"):
            chamfer(first, bad)
