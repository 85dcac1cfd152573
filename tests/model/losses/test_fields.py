"""Regularity of fields against published definitions, linear algebra and known folds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.losses.fields import bending, folding, jacobian_determinant, roughness, smoothness
from model.outputs.jacobian import folded_fraction
from model.registration.control_grid import bending as control_bending

SHAPE = (4, 5, 6)


def noise(seed: int, scale: float = 1.0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, (2, 3, *shape)))


def positions(shape: tuple[int, ...] = SHAPE, spacing: float = 1.0) -> Tensor:
    """The (3, I, J, K) positions of the samples."""
    axes = [torch.arange(n, dtype=torch.float64) * spacing for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@pytest.mark.parametrize("spacing", [1.0, 2.5])
def test_smoothness_is_the_published_mean_of_squared_forward_differences(spacing: float) -> None:
    field = noise(0).numpy()
    means = []
    for axis in range(3):
        squares = []
        for batch, channel, *index in itertools.product(range(2), range(3), *(range(n) for n in SHAPE)):
            if index[axis] + 1 < SHAPE[axis]:
                ahead = [n + (a == axis) for a, n in enumerate(index)]
                step = field[(batch, channel, *ahead)] - field[(batch, channel, *index)]
                squares.append((step / spacing) ** 2)
        means.append(np.mean(squares))
    assert smoothness(torch.from_numpy(field), spacing).item() == pytest.approx(np.mean(means))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 4))
def test_affine_fields_do_not_bend_and_have_one_determinant(seed: int, spacing: float) -> None:
    rng = np.random.default_rng(seed)
    matrix, shift = torch.from_numpy(rng.normal(size=(3, 3))), torch.from_numpy(rng.normal(size=3))
    field = (torch.einsum("ab,bijk->aijk", matrix, positions(spacing=spacing)) + shift[:, None, None, None])[None]
    assert bending(field, spacing).item() == pytest.approx(0, abs=1e-20)
    assert roughness(field, spacing).item() == pytest.approx(0, abs=1e-20)
    assert smoothness(field, spacing).item() == pytest.approx(matrix.square().mean().item())
    determinant = jacobian_determinant(field, spacing)
    assert determinant.shape == (1, *(n - 1 for n in SHAPE))
    expected = np.linalg.det(np.eye(3) + matrix.numpy())
    np.testing.assert_allclose(determinant.numpy(), expected, atol=1e-9)
    assert folding(field, spacing).item() == pytest.approx(max(0.0, -expected), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=6, max_size=6), st.floats(0.5, 4))
def test_bending_of_quadratic_fields_is_rueckerts_energy(parts: list[float], spacing: float) -> None:
    # Second derivatives of a x x + b y y + c z z + d x y + e x z + f y z, which differences give exactly.
    a, b, c, d, e, f = parts
    x, y, z = positions(spacing=spacing)
    quadratic = a * x * x + b * y * y + c * z * z + d * x * y + e * x * z + f * y * z
    field = torch.stack([quadratic, -2 * quadratic, torch.zeros_like(x)])[None]
    energy = (2 * a) ** 2 + (2 * b) ** 2 + (2 * c) ** 2 + 2 * (d * d + e * e + f * f)
    assert bending(field, spacing).item() == pytest.approx((1 + 4) * energy, rel=1e-6, abs=1e-9)
    pure = (2 * a) ** 2 + (2 * b) ** 2 + (2 * c) ** 2
    assert roughness(field, spacing).item() == pytest.approx((1 + 4) * pure / 9, rel=1e-6, abs=1e-9)


def test_roughness_is_that_of_control_grids_per_component_and_axis() -> None:
    field = noise(1)[:1]
    assert roughness(field).item() == pytest.approx(control_bending(field[0]).item() / 9)


def test_determinant_and_folds_are_those_of_linear_algebra() -> None:
    field = noise(2, 0.5)
    jacobian = np.empty((2, *(n - 1 for n in SHAPE), 3, 3))
    for axis in range(3):
        steps = np.diff(field.numpy(), axis=axis + 2)
        jacobian[..., axis] = np.moveaxis(steps[:, :, : SHAPE[0] - 1, : SHAPE[1] - 1, : SHAPE[2] - 1], 1, -1)
    determinant = np.linalg.det(jacobian + np.eye(3))
    np.testing.assert_allclose(jacobian_determinant(field).numpy(), determinant, atol=1e-12)
    assert folding(field).item() == pytest.approx(np.maximum(0, -determinant).mean())
    share = (jacobian_determinant(field)[0] <= 0).double().mean().item()
    assert 0 < share < 1
    assert folded_fraction(field[0].float().numpy()) == pytest.approx(share)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_fields_with_small_steps_do_not_fold(seed: int) -> None:
    # Every row of the field's derivative sums to less than one: the map is invertible.
    field = torch.from_numpy(np.random.default_rng(seed).uniform(-0.16, 0.16, (1, 3, 6, 6, 6)))
    assert folding(field).item() == 0


def test_a_known_fold_is_measured() -> None:
    # Along j the map runs backwards at twice the speed in one of three cells: determinant -2 there.
    field = torch.zeros(1, 3, 4, 4, 4, dtype=torch.float64)
    field[:, 1, :, 2:] = -3
    assert folding(field).item() == pytest.approx(2 / 3)
    field.requires_grad_()
    (gradient,) = torch.autograd.grad(folding(field), field)
    # Less of the step unfolds: descent moves the far side on and the near side back.
    assert gradient[:, 1, :3, 2, :3].max() < 0 < gradient[:, 1, :3, 1, :3].min()


def test_gradients_are_those_of_finite_differences() -> None:
    field = noise(3, 0.5, (3, 3, 4))[:1].requires_grad_()
    for measure in (smoothness, roughness, bending, folding):
        assert torch.autograd.gradcheck(lambda one, measure=measure: measure(one, 1.5), field)


def test_shapes_that_do_not_fit_are_refused() -> None:
    for measure, least in ((smoothness, 2), (roughness, 3), (bending, 3), (folding, 2)):
        for shape in ((3, 5, 5, 5), (1, 2, 5, 5, 5), (1, 3, 5, 5, least - 1)):
            with pytest.raises(ValueError, match="expected a field"):
                measure(torch.zeros(shape))
