"""What turns the activation map of one case into structures; one per published method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.masks.isosurface import isosurface
from model.meshes.mesh import SurfaceMesh

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Prediction:
    """The structures of one case, on the grid of its crop.

    Attributes:
        masks: bool [i, j, k] by structure id, all structures of the predictor.
        meshes_ijk: closed surfaces in crop voxels by structure id; those of empty masks may be missing.
    """

    masks: Mapping[str, BoolArray]
    meshes_ijk: Mapping[str, SurfaceMesh]


class MapPredictor(Protocol):
    """The rest of a network, behind its first convolution."""

    @property
    def method(self) -> str:
        """Name of the method in the folders of the release."""

    @property
    def structures(self) -> tuple[str, ...]:
        """Ids of the structures that it finds."""

    @property
    def spacing_mm(self) -> float:
        """Voxel size of the crops, whose axes are L, P, S."""

    @property
    def map_suffixes(self) -> tuple[str, ...]:
        """What may follow the name of the case in the name of a map; the first that fits counts."""

    @property
    def fingerprint(self) -> str:
        """Short hexadecimal digest of all that the predictions depend on besides the map."""

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Judge a map by its header.

        Raises:
            ReleaseError: it is the map of another network or grid.
        """

    def predict(self, activation: npt.NDArray[np.float32]) -> Prediction:
        """Compute the structures.

        Args:
            activation: finite float32 [c, i, j, k], of a shape that passed the check.

        Raises:
            ReleaseError: the map is of another network.
            RunError: the network gives values that are not finite.
            DeviceError: the device ran out of memory.
        """


def with_surfaces(masks: Mapping[str, BoolArray]) -> Prediction:
    """Complete masks by their surfaces, which pass halfway between voxel centres in and out of a mask."""
    surfaces = {name: isosurface(mask.astype(np.float32)) for name, mask in masks.items()}
    return Prediction(masks, {name: surface for name, surface in surfaces.items() if surface is not None})
