"""From a bundle to what runs on the activation maps."""

from __future__ import annotations

import re

import torch

from model.bundle import Bundle
from model.errors import BundleError
from model.networks.published import PublishedRegistrationNet
from model.networks.registry import load_network
from model.networks.segnet import PublishedSegNet
from model.reproduce.predictor import MapPredictor
from model.reproduce.registration import RegistrationMaps
from model.reproduce.segmentation import SegmentationMaps

_METHOD = re.compile(r"[A-Za-z0-9_-]{1,32}")


def predictor_of_bundle(bundle: Bundle, device: torch.device) -> MapPredictor:
    """Make what runs on the activation maps of an imported network.

    Raises:
        BundleError: the bundle is not one of the published networks.
    """
    manifest, frame = bundle.manifest, bundle.frame
    network = load_network(bundle, device)
    method = _method(bundle)
    if method is not None and isinstance(network, PublishedSegNet) and manifest.segmentation is not None:
        return SegmentationMaps(
            network,
            bundle.structure_ids,
            method=method,
            spacing_mm=frame.spacing_mm,
            grid=network.own_shape(frame.grid),
            pieces=manifest.segmentation.pieces,
            device=device,
        )
    if method is not None and isinstance(network, PublishedRegistrationNet) and manifest.refinement is None:
        return RegistrationMaps(
            network,
            bundle.atlas_meshes_ijk,
            method=method,
            spacing_mm=frame.spacing_mm,
            grid=frame.grid,
            sampler=bundle.sampler,
            device=device,
            # Of some methods nothing of the atlas image is published.
            atlas_input=bundle.atlas_input() if manifest.network.input.atlas in ("image", "activation") else None,
        )
    raise BundleError(
        "this bundle is not a published network, of which there are activation maps",
        expected="a bundle that `cochlear bundle import-release` wrote",
        found=f"{bundle.name}, network {manifest.network.class_name}",
        field="bundle",
    )


def _method(bundle: Bundle) -> str | None:
    """Give the name of the published method that an imported bundle states; it becomes that of a folder."""
    method = bundle.manifest.training.details.get("method")
    return method if isinstance(method, str) and _METHOD.fullmatch(method) else None
