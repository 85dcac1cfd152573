"""From the published segmentation network to a model bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from model.bundle.schema import SegmentationSection
from model.errors import ReleaseError
from model.networks.segnet import PublishedSegNet
from model.release import statement
from model.release.atlas_input import read_grid
from model.release.frame import release_frame
from model.release.names import rename_segnet
from model.release.tensors import check_tensors
from model.structures import STRUCTURE_IDS
from model.training.segmentation_bundle import write_segnet_bundle

SEGNET_METHOD = "segnet"
"""What the release calls the method of the segmentation network."""


def import_segnet(state: Mapping[str, Tensor], atlas_dir: Path, *, name: str, to: Path, replace: bool = False) -> Path:
    """Write a bundle of the published segmentation network, which keeps all pieces of its masks as published.

    Args:
        state: the published state dict.
        atlas_dir: `data/atlas` of the release, for the grid of its crops.
        name: name of the bundle.
        to: folder of bundles to write into.
        replace: whether an earlier bundle of that name may be replaced.

    Raises:
        ReleaseError: the weights are of another network, or the release does not tell the grid.
        BundleError: the bundle cannot be written.
    """
    network = read_segnet(state)
    frame = release_frame(read_grid(atlas_dir))
    try:
        network.own_shape(frame.grid)
    except ValueError as error:
        raise ReleaseError("the grid does not fit the network", expected=str(error), found=str(frame.grid)) from error
    return write_segnet_bundle(
        to,
        network,
        name=name,
        version=statement.VERSION,
        structures=STRUCTURE_IDS,
        frame=frame,
        intensity=statement.INTENSITY,
        training=statement.training(SEGNET_METHOD),
        segmentation=SegmentationSection(pieces="all"),
        licence=statement.LICENCE,
        citation=statement.CITATION,
        intended_use=statement.INTENDED_USE,
        limits=statement.limits(frame),
        replace=replace,
    )


def read_segnet(state: Mapping[str, Tensor]) -> PublishedSegNet:
    """Make the segmentation network of a published state dict, its size read from the shapes.

    Raises:
        ReleaseError: the weights are of another network, incomplete or of another shape.
    """
    weights = rename_segnet(state)
    first = weights.get("encoder_upper.first.weight")
    if first is None or first.ndim != 5:
        raise ReleaseError("the weights are of another network", expected="a tensor conv11.weight of 5 dimensions")
    try:
        network = PublishedSegNet(base_width=len(first), structures=len(STRUCTURE_IDS))
    except ValueError as error:
        raise ReleaseError("the weights do not fit the network", found=str(error)) from error
    check_tensors(weights, network.state_dict())
    network.load_state_dict(dict(weights))
    return network.eval()
