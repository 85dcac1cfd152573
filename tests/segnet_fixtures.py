"""Segmentation networks whose result is known: they find what is darker than a threshold, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model.bundle.schema import AsStored, HuWindow, SegmentationSection, TrainingSection
from model.geometry.frame import CanonicalFrame
from model.networks.segnet import PublishedSegNet
from model.structures import STRUCTURE_IDS
from model.training.segmentation_bundle import write_segnet_bundle

STEEPNESS = 6.0


def threshold_network(
    thresholds: Sequence[float | None], *, factor: int = 1, margin: int = 0, steepness: float = STEEPNESS
) -> PublishedSegNet:
    """Give a network whose logit of channel c is steepness * (thresholds[c] - intensity); None: never found.

    Every weight is zero but those that carry `1 - intensity`, which is never negative and so passes the ReLUs, through
    the centre taps of the upper encoder and decoder.
    """
    network = PublishedSegNet(base_width=2, structures=len(thresholds), factor=factor, margin=margin)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.encoder_upper.first.weight[0, 0, 1, 1, 1] = -1.0
        bias, logit_bias = network.encoder_upper.first.bias, network.logits.bias
        assert bias is not None
        assert logit_bias is not None
        bias[0] = 1.0
        for layer in (network.encoder_upper.second, network.decoder_upper.first, network.decoder_upper.second):
            layer.weight[0, 0, 1, 1, 1] = 1.0
        for channel, threshold in enumerate(thresholds):
            found = threshold is not None
            network.logits.weight[channel, 0] = steepness if found else 0.0
            logit_bias[channel] = steepness * (threshold - 1.0) if threshold is not None else -5.0
    return network.eval()


def write_threshold_bundle(
    checkpoints: Path,
    name: str,
    frame: CanonicalFrame,
    thresholds: Sequence[float | None],
    *,
    window_hu: tuple[float, float] | None = None,
    pieces: str = "largest",
    factor: int = 1,
    margin: int = 0,
    steepness: float = STEEPNESS,
) -> Path:
    """Write the bundle of a threshold network for the first so many structures; beyond the image it finds nothing."""
    return write_segnet_bundle(
        checkpoints,
        threshold_network(thresholds, factor=factor, margin=margin, steepness=steepness),
        name=name,
        version="0.1.0",
        structures=STRUCTURE_IDS[: len(thresholds)],
        frame=frame,
        intensity=AsStored()
        if window_hu is None
        else HuWindow(low=window_hu[0], high=window_hu[1], fill_hu=window_hu[1]),
        training=TrainingSection(data="None."),
        segmentation=SegmentationSection.model_validate({"pieces": pieces}),
        intended_use="Tests.",
    )


def random_network(base_width: int = 4, **settings: int) -> PublishedSegNet:
    """Give a network with fresh weights from a fixed seed."""
    torch.manual_seed(0)
    return PublishedSegNet(base_width=base_width, **settings).eval()


def own_centres(network: PublishedSegNet, size: int) -> npt.NDArray[np.float64]:
    """Give the crop coordinates of the centres of the own grid's voxels along an axis of `size` of them."""
    return np.asarray(network.margin + (network.factor - 1) / 2 + network.factor * np.arange(size), dtype=np.float64)
