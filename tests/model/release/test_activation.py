"""A map is of the weights, of others, or cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from model.errors import ReleaseError
from model.release.activation import check_origin


def layer(channels: int, seed: int) -> nn.Conv3d:
    """Give a convolution with fresh weights."""
    torch.manual_seed(seed)
    return nn.Conv3d(1, channels, 3, padding=1)


@torch.no_grad()
def check(made_by: nn.Conv3d, claimed: nn.Conv3d, scale: float = 1.0) -> None:
    """Make a map by one layer and check it against another."""
    image = torch.rand(1, 1, 12, 14, 16)
    activation = (made_by(image)[0] * scale).half().float().numpy()
    assert claimed.bias is not None
    check_origin(activation, claimed.weight.numpy(), claimed.bias.numpy(), "map.nii.gz")


def test_a_map_of_the_weights_is_accepted_also_in_half_precision() -> None:
    check(layer(32, 1), layer(32, 1))


def test_a_map_of_other_weights_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"map\.nii\.gz does not come from these weights"):
        check(layer(32, 2), layer(32, 1))


def test_a_map_without_the_bias_is_refused() -> None:
    other = layer(32, 1)
    assert other.bias is not None
    nn.init.zeros_(other.bias)
    with pytest.raises(ReleaseError, match="does not come from"):
        check(other, layer(32, 1))


def test_channels_as_many_as_weights_cannot_be_told() -> None:
    check(layer(27, 2), layer(27, 1))


def test_a_constant_map_of_nothing_is_accepted() -> None:
    weight, bias = np.ones((32, 1, 3, 3, 3), np.float32), np.arange(32, dtype=np.float32)
    check_origin(np.zeros((32, 4, 4, 4), np.float32) + bias[:, None, None, None], weight, bias, "map.nii.gz")
