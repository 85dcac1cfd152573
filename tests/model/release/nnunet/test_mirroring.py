"""Maps of mirrored images come from the map alone, and mirroring the map in their place is something else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from nnunet_fixtures import make_image
from published_case import formula_values
from torch import Tensor
from torch.nn.functional import conv3d

from model.errors import ReleaseError
from model.release.nnunet.mirroring import map_under_mirrored_kernel, mirror_sets

AXES = [axes for count in range(4) for axes in itertools.combinations(range(3), count)]


def convolution(channels: int, kernel: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Give an irregular kernel and bias."""
    values = np.random.default_rng(3).normal(size=(channels, 1, *kernel))
    return torch.tensor(values, dtype=torch.float32), formula_values("bias", (channels,), 1.0)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize(("channels", "kernel"), [(32, (3, 3, 3)), (12, (1, 3, 3)), (10, (3, 1, 3))])
def test_map_of_the_mirrored_image(axes: tuple[int, ...], channels: int, kernel: tuple[int, int, int]) -> None:
    weight, bias = convolution(channels, kernel)
    padding = [size // 2 for size in kernel]
    image = torch.from_numpy(make_image((5, 6, 7)))[None, None]
    places = [axis + 2 for axis in axes]
    wanted = conv3d(image.flip(places), weight, bias, padding=padding)[0]
    activation = conv3d(image, weight, bias, padding=padding)[0]
    found = map_under_mirrored_kernel(activation, weight, bias, axes).flip([axis + 1 for axis in axes])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    mirrored = activation.flip([axis + 1 for axis in axes])
    assert any(kernel[axis] > 1 for axis in axes) == (float((mirrored - wanted).abs().max()) > 0.1)


def test_too_few_channels_do_not_tell() -> None:
    weight, bias = convolution(26, (3, 3, 3))
    activation = torch.zeros(26, 3, 3, 3)
    with pytest.raises(ReleaseError, match=r"does not tell.*without mirroring"):
        map_under_mirrored_kernel(activation, weight, bias, (1,))
    assert map_under_mirrored_kernel(activation, weight, bias, ()) is activation


def test_symmetric_kernels_need_few_channels() -> None:
    weight, bias = convolution(2, (3, 3, 3))
    weight = weight + weight.flip(3)
    activation = torch.from_numpy(np.stack([make_image((3, 4, 5))] * 2))
    found = map_under_mirrored_kernel(activation, weight, bias, (1,))
    torch.testing.assert_close(found, activation, rtol=0, atol=1e-5)
    with pytest.raises(ReleaseError, match="does not tell"):
        map_under_mirrored_kernel(activation, weight, bias, (2,))


def test_kernels_that_enlarge_rounding_are_refused() -> None:
    weight, bias = convolution(12, (1, 3, 3))
    # One column nearly another's double.
    weight[..., 2, 2] = 2 * weight[..., 0, 0] + 1e-5 * weight[..., 2, 2]
    with pytest.raises(ReleaseError, match="does not tell"):
        map_under_mirrored_kernel(torch.zeros(12, 2, 2, 2), weight, bias, (2,))


def test_sets_of_axes() -> None:
    assert mirror_sets(()) == [()]
    assert sorted(mirror_sets((0, 1, 2))) == sorted(AXES)
    assert mirror_sets((2,)) == [(), (2,)]
