"""From the network section of a bundle to a network ready to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from model.bundle.bundle import Bundle
from model.bundle.schema import NetworkSection
from model.errors import BundleError, DamagedBundleError
from model.networks.coarse_to_fine import CoarseToFineNet
from model.networks.published import PublishedRegistrationNet
from model.networks.segnet import PublishedSegNet

REGISTRATION_NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"published_registration": PublishedRegistrationNet, "coarse_to_fine": CoarseToFineNet}
)
"""Registration networks by the name of their class in bundles.

Each maps (patient (B, 1, I, J, K), atlas (B, C, I, J, K)) to a displacement (B, 3, I, J, K) in crop voxels, channel c
along axis c; C is 1 for an atlas image.
"""

SEGMENTATION_NETWORKS: Mapping[str, Callable[..., PublishedSegNet]] = MappingProxyType({"segnet": PublishedSegNet})
"""Segmentation networks by the name of their class in bundles.

Each maps a patient (B, 1, I, J, K) to logits (B, C, I, J, K), one channel for each structure of the bundle in order.
"""

NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({**REGISTRATION_NETWORKS, **SEGMENTATION_NETWORKS})
"""All networks by the name of their class in bundles."""


def build_network(section: NetworkSection) -> nn.Module:
    """Make the network that a bundle names, with fresh weights.

    Raises:
        BundleError: when the class is unknown or does not take the parameters.
    """
    if section.class_name not in NETWORKS:
        raise BundleError(
            "the bundle's network is not known",
            expected=" or ".join(NETWORKS),
            found=repr(section.class_name),
            hint="a newer version of the program may know it",
            field="bundle",
        )
    try:
        return NETWORKS[section.class_name](**section.parameters)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"the network {section.class_name} does not take the bundle's parameters",
            found=", ".join(f"{name}={value}" for name, value in section.parameters.items())[:200] or "none",
            field="bundle",
        ) from error


def load_network(bundle: Bundle, device: str | torch.device = "cpu") -> nn.Module:
    """Make the network of a bundle with its weights, ready to use (evaluation mode, no gradients).

    Args:
        bundle: a loaded, hence verified, bundle.
        device: where the weights go; half-precision weights become float32.

    Raises:
        BundleError: when the network is not known.
        DamagedBundleError: when the weights do not fit the network.
    """
    network = build_network(bundle.manifest.network)
    try:
        state = load_file(bundle.weights_path)
        network.load_state_dict(state)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise DamagedBundleError(
            f"{bundle.weights_path.name} does not fit the network {bundle.manifest.network.class_name}",
            found=str(error).splitlines()[-1].strip()[:200],
            field="bundle",
        ) from error
    return network.to(device).eval().requires_grad_(False)
