"""Masks and surfaces from the activation maps of the published segmentation network."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from model.errors import RunError
from model.inference.device_errors import device_errors
from model.masks.isosurface import LEVEL, isosurface, largest_piece
from model.networks.segnet import PublishedSegNet
from model.release.activation import check_origin
from model.reproduce.arithmetic import full_precision
from model.reproduce.fingerprint import fingerprint
from model.reproduce.maps import check_map_shape
from model.reproduce.predictor import Prediction

Grid = tuple[int, int, int]


class SegmentationMaps:
    """The segmentation network; see `MapPredictor`.

    A map holds the first convolution's output for the patient, bias included. A voxel is in where the sigmoid of its
    logit is above 0.5; surfaces are the isosurfaces of the sigmoid at 0.5.
    """

    map_suffixes = (".nii.gz",)

    def __init__(
        self,
        network: PublishedSegNet,
        structures: tuple[str, ...],
        *,
        method: str,
        spacing_mm: float,
        grid: Grid,
        pieces: Literal["largest", "all"],
        device: torch.device,
    ) -> None:
        """Keep a network, in evaluation mode, on a device.

        Args:
            network: with its weights.
            structures: ids of the network's channels.
            method: name of the method in the release.
            spacing_mm: voxel size of the crops.
            grid: voxels of the network's view of the crops.
            pieces: whether of each structure all pieces are kept, as published, or the largest only.
            device: where to compute.
        """
        self.network = network.to(device).eval()
        self.structures, self.grid, self.pieces, self.device = structures, grid, pieces, device
        self.method, self.spacing_mm = method, spacing_mm
        self.fingerprint = fingerprint(network, None, *structures, pieces)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Judge a map by its header; see `MapPredictor`."""
        check_map_shape(shape, self.network.base_width, self.grid)

    def predict(self, activation: npt.NDArray[np.float32]) -> Prediction:
        """Segment; see `MapPredictor`."""
        first = self.network.encoder_upper.first
        weight, bias = (tensor.detach().cpu().numpy() for tensor in first.parameters())
        check_origin(activation, weight, bias, "the map")
        values = self.probability(activation)
        channels = dict(zip(self.structures, values, strict=True))
        if self.pieces == "largest":
            channels = {name: largest_piece(channel) for name, channel in channels.items()}
        surfaces = {name: isosurface(channel) for name, channel in channels.items()}
        return Prediction(
            {name: channel > LEVEL for name, channel in channels.items()},
            {name: surface for name, surface in surfaces.items() if surface is not None},
        )

    def probability(self, activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give the sigmoid of the logits, [structure, i, j, k], from a [c, i, j, k] map.

        Raises:
            RunError: it is not finite.
        """
        with device_errors(), torch.inference_mode(), full_precision():
            first = torch.from_numpy(activation)[None].to(self.device)
            logits = self.network.on_crop(self.network.own_logits_from_activation(first))[0].float()
            values: npt.NDArray[np.float32] = torch.sigmoid(logits).cpu().numpy()
        if not torch.isfinite(logits).all():
            raise RunError("the network gives values that are not finite", hint="is the map that of this network?")
        return values
