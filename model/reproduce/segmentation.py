"""Masks and surfaces from the activation maps of the published segmentation network."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from model.errors import ReleaseError, RunError
from model.inference.method import device_memory
from model.masks.isosurface import LEVEL, isosurface, largest_piece
from model.networks.segnet import PublishedSegNet
from model.reproduce.arithmetic import full_precision
from model.reproduce.fingerprint import fingerprint
from model.reproduce.predictor import Prediction

Grid = tuple[int, int, int]


class SegmentationMaps:
    """The segmentation network; see `MapPredictor`.

    A map holds the first convolution's output for the patient, bias included. A voxel is in where the sigmoid of its
    logit is above 0.5; surfaces are the isosurfaces of the sigmoid at 0.5.
    """

    map_suffix = ".nii.gz"

    def __init__(
        self,
        network: PublishedSegNet,
        structures: tuple[str, ...],
        *,
        method: str,
        spacing_mm: float,
        device: torch.device,
        pieces: Literal["largest", "all"] = "all",
        grid: Grid | None = None,
    ) -> None:
        """Keep a network, in evaluation mode, on a device.

        Args:
            network: with its weights.
            structures: ids of the network's channels.
            method: name of the method in the release.
            spacing_mm: voxel size of the crops.
            device: where to compute.
            pieces: whether of each structure all pieces are kept, as published, or the largest only.
            grid: voxels of the network's view of the crops; None takes any that the network can halve.
        """
        self.network = network.to(device).eval()
        self.structures, self.pieces, self.grid, self.device = structures, pieces, grid, device
        self.method, self.spacing_mm = method, spacing_mm
        self.fingerprint = fingerprint(network, None, *structures, pieces)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Judge a map by its header; see `MapPredictor`."""
        channels = self.network.base_width
        if len(shape) != 4 or shape[0] != channels:
            found = " x ".join(map(str, shape))
            raise ReleaseError("the map is of another network", expected=f"{channels} channels first", found=found)
        grid = shape[1:]
        if (self.grid is not None and grid != self.grid) or any(size % 2 for size in grid):
            expected = "even sizes" if self.grid is None else " x ".join(map(str, self.grid))
            raise ReleaseError("the map has another grid", expected=expected, found=" x ".join(map(str, grid)))

    def predict(self, activation: npt.NDArray[np.float32]) -> Prediction:
        """Segment; see `MapPredictor`."""
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
        with device_memory(), torch.inference_mode(), full_precision():
            first = torch.from_numpy(activation)[None].to(self.device)
            logits = self.network.on_crop(self.network.own_logits_from_activation(first))
            values: npt.NDArray[np.float32] = torch.sigmoid(logits[0].float()).cpu().numpy()
        if not np.isfinite(values).all():
            raise RunError("the network gives values that are not finite", hint="is the map that of this network?")
        return values
