"""The tables of tensor names are complete and one to one."""

from __future__ import annotations

import pytest
import torch

from model.errors import ReleaseError
from model.networks.published import PublishedRegistrationNet
from model.networks.segnet import PublishedSegNet
from model.release.names import (
    SEGNET_LAYERS,
    count_levels,
    registration_layers,
    rename,
    rename_registration,
    rename_segnet,
)


def published_names(ours: torch.nn.Module, layers: dict[str, str]) -> dict[str, str]:
    """Give published tensor names of a network of ours."""
    theirs = {ours: theirs for theirs, ours in layers.items()}
    names = {}
    for name in ours.state_dict():
        layer, _, kind = name.rpartition(".")
        names["ddf_bias" if name == "field_bias" else f"{theirs[layer]}.{kind}"] = name
    return names


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_registration_names_cover_the_network(levels: int) -> None:
    with torch.device("meta"):
        network = PublishedRegistrationNet(base_width=2, levels=levels)
    table = published_names(network, registration_layers(levels))
    assert count_levels(table) == levels
    renamed = rename_registration(table)
    assert set(renamed) == set(network.state_dict())
    assert all(ours == stated for ours, stated in renamed.items())


def test_names_of_single_layers() -> None:
    table = registration_layers(3)
    assert len(table) == 39
    assert len(set(table.values())) == 39
    assert table["dp1_conv1"] == "encoders.0.first.conv"
    assert table["dp3_bn3"] == "encoders.2.third.norm"
    assert table["up3_deconv1"] == "decoders.0.up_conv"
    assert table["up1_bn2"] == "decoders.2.second.norm"
    assert table["bottom_conv"] == "bottleneck.conv"
    assert table["up1_skip_conv"] == "field"


def test_segnet_names_cover_the_network() -> None:
    with torch.device("meta"):
        network = PublishedSegNet()
    table = published_names(network, dict(SEGNET_LAYERS))
    assert set(rename_segnet(table)) == set(network.state_dict())
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_808_804


def test_tensor_of_another_network_is_named() -> None:
    with pytest.raises(ReleaseError, match=r"fc\.weight"):
        rename({"fc.weight": 1}, {"out": "logits"})
