"""Names of the tensors of the published release, and what they are called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from model.errors import ReleaseError

T = TypeVar("T")

_ENCODER = {
    "conv1": "first.conv",
    "bn1": "first.norm",
    "conv2": "second.conv",
    "bn2": "second.norm",
    "conv3": "third.conv",
    "bn3": "third.norm",
}
_DECODER = {
    "deconv1": "up_conv",
    "deconvbn": "up_norm",
    "conv1": "first.conv",
    "bn1": "first.norm",
    "conv2": "second.conv",
    "bn2": "second.norm",
}

SEGNET_LAYERS: Mapping[str, str] = {
    "conv11": "encoder_upper.first",
    "conv12": "encoder_upper.second",
    "conv21": "encoder_lower.first",
    "conv22": "encoder_lower.second",
    "conv23": "decoder_lower.first",
    "conv24": "decoder_lower.second",
    "conv13": "decoder_upper.first",
    "conv14": "decoder_upper.second",
    "tconv1": "up_first",
    "tconv2": "up_second",
    "out": "logits",
}
"""Layers of the published segmentation network, and of `PublishedSegNet`."""


def registration_layers(levels: int) -> dict[str, str]:
    """Give the layers of the published registration network, and of `PublishedRegistrationNet`.

    The published names count levels from one at full resolution, also in the decoder (`up1` is the last to run); here
    encoders and decoders count from zero in the order in which they run.

    Args:
        levels: encoder levels.
    """
    table = {"bottom_conv": "bottleneck.conv", "bottom_bn": "bottleneck.norm", "up1_skip_conv": "field"}
    for level in range(1, levels + 1):
        table |= {f"dp{level}_{theirs}": f"encoders.{level - 1}.{ours}" for theirs, ours in _ENCODER.items()}
        table |= {f"up{level}_{theirs}": f"decoders.{levels - level}.{ours}" for theirs, ours in _DECODER.items()}
    return table


def count_levels(state: Mapping[str, object]) -> int:
    """Count the encoder levels of a published registration network by the names of its tensors."""
    levels = 0
    while f"dp{levels + 1}_conv1.weight" in state:
        levels += 1
    return levels


def rename(state: Mapping[str, T], layers: Mapping[str, str], tensors: Mapping[str, str] | None = None) -> dict[str, T]:
    """Give a published state dict under the names used here.

    Args:
        state: tensors by published name.
        layers: layers by published name, every tensor `<layer>.<kind>` of which is renamed.
        tensors: single tensors by published name.

    Raises:
        ReleaseError: a tensor that the tables do not name.
    """
    single = tensors or {}
    renamed = {}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        if name not in single and layer not in layers:
            raise ReleaseError("the weights hold a tensor of another network", found=name)
        renamed[single[name] if name in single else f"{layers[layer]}.{kind}"] = tensor
    return renamed


def rename_registration(state: Mapping[str, T]) -> dict[str, T]:
    """Give the state dict of a published registration network under the names of `PublishedRegistrationNet`.

    Raises:
        ReleaseError: a tensor of another network.
    """
    return rename(state, registration_layers(count_levels(state)), {"ddf_bias": "field_bias"})


def rename_segnet(state: Mapping[str, T]) -> dict[str, T]:
    """Give the state dict of a published segmentation network under the names of `PublishedSegNet`.

    Raises:
        ReleaseError: a tensor of another network.
    """
    return rename(state, SEGNET_LAYERS)
