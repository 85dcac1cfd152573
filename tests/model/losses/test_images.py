"""Image similarity against naive loops, and pulling back against an independent interpolation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch import Tensor

from model.losses.images import lncc, mse, ncc, pull_back

SHAPE = (5, 6, 7)


def pair(seed: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    first, noise = (torch.from_numpy(rng.normal(0, 0.5, (batch, 1, *SHAPE))) for _ in range(2))
    return first, 0.6 * first + noise


def test_images_are_pulled_back_as_scipy_does_also_beyond_the_border() -> None:
    # Three lengths and channels that differ: a swapped axis or channel would show.
    image, _ = pair(0)
    image = torch.cat([image, 2 * image + 1], dim=1)
    field = torch.from_numpy(np.random.default_rng(1).normal(0, 2, (2, 3, *SHAPE)))
    where = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")) + field.numpy()
    expected = [
        [map_coordinates(channel, moved, order=1, mode="nearest") for channel in channels]
        for channels, moved in zip(image.numpy(), where, strict=True)
    ]
    np.testing.assert_allclose(pull_back(image, field).numpy(), expected, atol=1e-12)


def test_swapped_axes_of_the_field_are_seen() -> None:
    image = torch.arange(4.0 * 4 * 4).reshape(1, 1, 4, 4, 4)
    field = torch.zeros(1, 3, 4, 4, 4)
    field[:, 0] = 1  # the value one voxel on along i, which is 16 higher
    torch.testing.assert_close(pull_back(image, field)[:, :, :3], image[:, :, 1:])
    field = field.roll(1, dims=1)  # along j: 4 higher
    torch.testing.assert_close(pull_back(image, field)[:, :, :, :3], image[:, :, :, 1:])


def test_pulling_back_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected an image"):
        pull_back(torch.zeros(1, 1, 4, 5, 6), torch.zeros(1, 3, 6, 5, 4))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 5), st.floats(-3, 3))
def test_correlation_is_pearsons_and_blind_to_brightness_and_contrast(seed: int, gain: float, offset: float) -> None:
    first, second = pair(seed)
    expected = np.mean([np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(first, second, strict=True)])
    assert ncc(first, second).item() == pytest.approx(expected)
    assert ncc(gain * first + offset, second).item() == pytest.approx(expected)
    assert ncc(first, gain * first + offset).item() == pytest.approx(1)
    assert ncc(first, -gain * first + offset).item() == pytest.approx(-1)
    assert mse(first, second).item() == pytest.approx(np.mean((first.numpy() - second.numpy()) ** 2))


@pytest.mark.parametrize("window", [3, 5, 9])
def test_local_correlation_is_that_of_a_loop(window: int) -> None:
    first, second = (image.numpy() for image in pair(2, batch=1))
    half, values = window // 2, []
    for index in itertools.product(*(range(n) for n in SHAPE)):
        i, j, k = (slice(max(0, n - half), n + half + 1) for n in index)
        box_1, box_2 = first[0, 0, i, j, k], second[0, 0, i, j, k]
        a, b = box_1 - box_1.mean(), box_2 - box_2.mean()
        values.append((a * b).mean() ** 2 / ((a * a).mean() * (b * b).mean() + 1e-5))
    assert lncc(*pair(2, batch=1), window=window).item() == pytest.approx(np.mean(values), rel=1e-9)


def test_local_correlation_is_blind_to_brightness_and_contrast_also_in_single_precision() -> None:
    first, second = pair(3)
    assert lncc(first, 1 - 3 * first, window=3).item() == pytest.approx(1, abs=1e-3)
    expected = lncc(first, second).item()
    assert lncc(3 * first + 50, second).item() == pytest.approx(expected, rel=1e-3)
    assert lncc((first + 50).float(), second.float()).item() == pytest.approx(expected, rel=1e-3)


def test_images_without_contrast_have_no_correlation_and_no_broken_gradient() -> None:
    first, _ = pair(4)
    flat = torch.full_like(first, 0.25).requires_grad_()
    for measure in (ncc, lncc):
        value = measure(flat, first)
        assert value.item() == pytest.approx(0, abs=1e-9)
        assert torch.autograd.grad(value, flat)[0].isfinite().all()


def test_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(5)
    first, second = (torch.from_numpy(rng.normal(size=(1, 1, 3, 4, 3))).requires_grad_() for _ in range(2))
    for measure in (mse, ncc, lambda a, b: lncc(a, b, window=3)):
        assert torch.autograd.gradcheck(measure, (first, second))
    field = torch.from_numpy(rng.uniform(0.1, 0.9, (1, 3, 3, 4, 3)) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(pull_back, (first, field))


def test_shapes_and_windows_that_do_not_fit_are_refused() -> None:
    first, _ = pair(6)
    for measure in (mse, ncc, lncc):
        with pytest.raises(ValueError, match="one shape"):
            measure(first, first[:, :, 1:])
    with pytest.raises(ValueError, match="odd"):
        lncc(first, first, window=4)
