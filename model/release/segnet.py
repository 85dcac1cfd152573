"""From the published segmentation network to a model bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from model.bundle.schema import AsStored, Point, SegmentationSection, TrainingSection
from model.errors import ReleaseError
from model.geometry.frame import CanonicalFrame
from model.networks.segnet import PublishedSegNet
from model.release.atlas_files import IMAGE_FILE, SPACING_MM, read_release_image
from model.release.names import rename_segnet
from model.release.tensors import check_tensors
from model.structures import STRUCTURE_IDS
from model.training.segmentation_bundle import write_segnet_bundle

SEGNET_METHOD = "segnet"
"""What the release calls the method of the segmentation network."""


def import_segnet(
    state: Mapping[str, Tensor],
    atlas_dir: Path,
    *,
    name: str,
    to: Path,
    landmarks_ijk: Mapping[str, Point] | None = None,
    replace: bool = False,
) -> Path:
    """Write a bundle of the published segmentation network, which keeps all pieces of its masks as published.

    Args:
        state: the published state dict.
        atlas_dir: `data/atlas` of the release, for the grid of its crops.
        name: name of the bundle.
        to: folder of bundles to write into.
        landmarks_ijk: see `import_release`.
        replace: whether an earlier bundle of that name may be replaced.

    Raises:
        ReleaseError: the weights are of another network, or the release does not tell the grid.
        BundleError: the bundle cannot be written.
    """
    network = read_segnet(state)
    frame = CanonicalFrame(_grid(atlas_dir), SPACING_MM, "LPS", "left", dict(landmarks_ijk or {}))
    try:
        network.own_shape(frame.grid)
    except ValueError as error:
        raise ReleaseError("the grid does not fit the network", expected=str(error), found=str(frame.grid)) from error
    return write_segnet_bundle(
        to,
        network,
        name=name,
        version="1",
        structures=STRUCTURE_IDS,
        frame=frame,
        intensity=AsStored(),
        training=TrainingSection(data="As published, method segnet.", details={"method": SEGNET_METHOD}),
        segmentation=SegmentationSection(pieces="all"),
        licence="None stated by the publisher; ask the authors before redistribution.",
        citation="The published study of the release; cite it together with this program.",
        intended_use="Research use only: comparison with the published method. Not for diagnosis or treatment.",
        limits=("Takes crops as the published method prepares them, intensities in [-1, 1].",),
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
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise ReleaseError("the weights cannot be used", expected="finite values", found="NaN or infinity")
    network.load_state_dict(dict(weights))
    return network.eval()


def _grid(folder: Path) -> tuple[int, int, int]:
    """Read the grid of the crops from the atlas image, or else from an activation map of the atlas."""
    files = [folder / IMAGE_FILE, *sorted(folder.glob("atlas_activation_map_*.nii.gz"))]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise ReleaseError(
            "the grid of the crops is not known", expected=f"{IMAGE_FILE} or an activation map of the atlas"
        )
    i, j, k = read_release_image(found).shape[-3:]
    return i, j, k
