"""The bundle that the training of a segmentation network ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.bundle.schema import (
    BundleDescription,
    FrameSection,
    Intensity,
    NetworkInput,
    NetworkSection,
    SegmentationSection,
    TrainingSection,
)
from model.bundle.write import write_bundle
from model.geometry.frame import CanonicalFrame
from model.networks.segnet import PublishedSegNet


def write_segnet_bundle(
    out: Path,
    network: PublishedSegNet,
    *,
    name: str,
    version: str,
    structures: Sequence[str],
    frame: CanonicalFrame,
    intensity: Intensity,
    training: TrainingSection,
    segmentation: SegmentationSection | None = None,
    licence: str = "Apache-2.0",
    citation: str | None = None,
    intended_use: str = "Research use only. Not for diagnosis or treatment.",
    limits: Sequence[str] = (),
    scores: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> Path:
    """Write the bundle of a segmentation network; it has no atlas, but the landmarks that align raw CT.

    Args:
        out: folder of bundles.
        network: the network with its weights.
        name: name of the bundle and of its folder.
        version: of the model.
        structures: ids of the network's channels, in order.
        frame: the canonical frame that it was trained in.
        intensity: how image values become its input.
        training: what it was trained on.
        segmentation: how its logits become structures; None: the largest piece of each.
        licence: of the weights.
        citation: what to cite.
        intended_use: what it may be used for.
        limits: what it is known not to do.
        scores: measured scores.
        extra_files: further files by name.
        replace: whether an earlier bundle of that name may be replaced.

    Returns:
        The folder of the bundle.

    Raises:
        BundleError: the bundle cannot be written.
        ValueError: the frame does not fit the network, or the structures are not as many as its channels.
    """
    network.own_shape(frame.grid)
    if len(structures) != network.structures:
        raise ValueError(f"expected {network.structures} structures, found {len(structures)}")
    description = BundleDescription(
        name=name,
        version=version,
        licence=licence,
        citation=citation,
        intended_use=intended_use,
        limits=tuple(limits),
        network=NetworkSection(
            class_name="segnet", parameters={**network.settings()}, input=NetworkInput(atlas="none")
        ),
        segmentation=segmentation or SegmentationSection(),
        frame=FrameSection.model_validate(frame.to_json()),
        intensity=intensity,
        training=training,
        scores=dict(scores or {}),
    )
    weights = {key: value.detach().cpu().numpy() for key, value in network.state_dict().items()}
    path = out / name
    write_bundle(path, description, weights=weights, structures=structures, extra_files=extra_files, replace=replace)
    return path
