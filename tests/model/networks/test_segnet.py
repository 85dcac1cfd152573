"""The segmentation network on the crop's grid and on one of its own."""

from __future__ import annotations

import pytest
import torch
from segnet_fixtures import own_centres, random_network, threshold_network

from model.networks.segnet import OUTSIDE_LOGIT, PublishedSegNet

SIZES = (16, 20, 24)


def ramp() -> torch.Tensor:
    """Give a (1, 1, I, J, K) image that is linear, with another slope along each axis."""
    i, j, k = torch.meshgrid(*(torch.arange(size, dtype=torch.float32) for size in SIZES), indexing="ij")
    return (0.01 * i + 0.02 * j - 0.015 * k)[None, None]


@torch.no_grad()
def test_its_own_grid_lies_where_it_is_said_to() -> None:
    network = threshold_network([0.1], factor=2, margin=4)
    view = network.look(ramp())[0, 0]
    assert view.shape == network.own_shape(SIZES) == (4, 6, 8)
    i, j, k = (torch.from_numpy(own_centres(network, size)).float() for size in view.shape)
    expected = 0.01 * i[:, None, None] + 0.02 * j[:, None] - 0.015 * k
    torch.testing.assert_close(view, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_logits_come_back_to_the_voxels_they_belong_to() -> None:
    """The threshold network is linear in the image, so its logits must be linear too, but for the outermost voxels."""
    image = ramp()
    whole = threshold_network([0.1, -0.2])(image)
    coarse = threshold_network([0.1, -0.2], factor=2, margin=2)(image)
    inner = (..., *(slice(3, size - 3) for size in SIZES))
    torch.testing.assert_close(coarse[inner], whole[inner], atol=1e-5, rtol=0)
    looked_at = torch.nn.functional.pad(torch.ones([size - 4 for size in SIZES]), (2,) * 6).bool()
    assert (coarse[:, :, ~looked_at] == OUTSIDE_LOGIT).all()


@torch.no_grad()
def test_the_rest_of_the_network_goes_on_from_the_first_convolution() -> None:
    network, image = random_network(factor=2, margin=2), ramp()
    activation = network.encoder_upper.first(network.look(image))
    rest = network.on_crop(network.own_logits_from_activation(activation))
    assert torch.equal(rest, network(image))


@torch.no_grad()
def test_the_published_grid_is_every_voxel_of_the_crop() -> None:
    network, image = random_network(), torch.randn(2, 1, 8, 12, 16)
    torch.testing.assert_close(network(image), network.own_logits(image))
    assert network(image).shape == (2, 4, 8, 12, 16)


@pytest.mark.parametrize(
    ("settings", "sizes"), [({}, (8, 8, 9)), ({"factor": 2}, (8, 8, 10)), ({"margin": 4}, (8,) * 3)]
)
def test_crops_that_do_not_divide_are_refused(settings: dict[str, int], sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="multiple"):
        random_network(**settings)(torch.zeros(1, 1, *sizes))


@pytest.mark.parametrize("settings", [{"factor": 0}, {"margin": -1}, {"base_width": 3}, {"structures": 0}])
def test_parameters_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        PublishedSegNet(**settings)


def test_settings_make_the_same_network() -> None:
    network = PublishedSegNet(base_width=6, structures=2, factor=2, margin=3)
    PublishedSegNet(**network.settings()).load_state_dict(network.state_dict())
    assert network.settings() == {"base_width": 6, "structures": 2, "factor": 2, "margin": 3}
