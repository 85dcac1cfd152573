"""From a bundle, or straight from the published files, to what runs on the activation maps."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from model.bundle import Bundle
from model.errors import BundleError, ReleaseError
from model.networks.published import PublishedRegistrationNet
from model.networks.registry import load_network
from model.networks.segnet import PublishedSegNet
from model.release.atlas_files import SPACING_MM, read_release_meshes
from model.release.importer import check_weights, network_parameters
from model.release.segnet import SEGNET_METHOD, read_segnet
from model.release.torch_file import read_state_dict
from model.reproduce.predictor import MapPredictor
from model.reproduce.registration import RegistrationMaps
from model.reproduce.segmentation import SegmentationMaps
from model.structures import STRUCTURE_IDS

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
            device=device,
            pieces=manifest.segmentation.pieces,
            grid=network.own_shape(frame.grid),
        )
    if method is not None and isinstance(network, PublishedRegistrationNet) and manifest.refinement is None:
        return RegistrationMaps(
            network,
            bundle.atlas_meshes_ijk,
            method=method,
            spacing_mm=frame.spacing_mm,
            device=device,
            sampler=bundle.sampler,
            grid=frame.grid,
        )
    raise BundleError(
        "this bundle is not a published network, of which there are activation maps",
        expected="a bundle that `cochlear bundle import-release` wrote",
        found=f"{bundle.name}, network {manifest.network.class_name}",
        field="bundle",
    )


def predictor_of_release(checkpoint: Path, atlas_dir: Path | None, method: str, device: torch.device) -> MapPredictor:
    """Make what runs on the activation maps, straight from the published files.

    The atlas image and its activation map, which the release does not have for every method, are not needed: the maps
    of the cases hold what they add.

    Args:
        checkpoint: `best.pth`, or the folder of its experiment.
        atlas_dir: `data/atlas` of the release; not needed for `segnet`.
        method: `segnet`, or the name of a registration method: `chamfer`, `p2p`, `dice`.
        device: where to compute.

    Raises:
        ReleaseError: a file is missing, damaged or does not fit the others.
    """
    state = read_state_dict(checkpoint)
    if method == SEGNET_METHOD:
        return SegmentationMaps(read_segnet(state), STRUCTURE_IDS, method=method, spacing_mm=SPACING_MM, device=device)
    parameters = network_parameters(state)
    network = PublishedRegistrationNet(**parameters)
    network.load_state_dict(check_weights(state, parameters))
    if atlas_dir is None:
        raise ReleaseError("a registration network needs the atlas", expected="the folder data/atlas", found="none")
    meshes = read_release_meshes(atlas_dir)
    return RegistrationMaps(network, meshes, method=method, spacing_mm=SPACING_MM, device=device)


def _method(bundle: Bundle) -> str | None:
    """Give the name of the published method that an imported bundle states; it becomes that of a folder."""
    method = bundle.manifest.training.details.get("method")
    return method if isinstance(method, str) and _METHOD.fullmatch(method) else None
