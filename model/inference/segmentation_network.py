"""Segmentation: a network says of every voxel of the crop which structures it belongs to; no atlas is moved."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from model.bundle import Bundle
from model.errors import BundleError, OptionError, RunError
from model.inference.method import Found, RunOptions
from model.inference.stages import Stages
from model.masks.isosurface import isosurface, largest_piece
from model.meshes.mesh import SurfaceMesh
from model.networks.registry import load_network
from model.networks.segnet import PublishedSegNet
from model.request import CheckedRequest
from model.structures import structure_by_id


class SegmentationMethod:
    """A segmentation network.

    A voxel of the crop belongs to a structure where the sigmoid of its logit is above 0.5. When the bundle says so, of
    each structure only the largest piece is kept (see `largest_piece`). Surfaces are the isosurfaces of the sigmoid at
    0.5; vertices of two patients do not correspond.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        """Load the network of a bundle onto a device.

        Raises:
            BundleError: the network does not fit the crop or the structures of the bundle.
        """
        self.bundle, self.device = bundle, device
        network = load_network(bundle, device)
        if not isinstance(network, PublishedSegNet) or bundle.manifest.segmentation is None:
            raise BundleError(
                "the bundle does not say how the network's logits become structures",
                expected="a section `segmentation`",
                field="bundle",
            )
        self.network = network
        self.pieces = bundle.manifest.segmentation.pieces
        if network.structures != len(bundle.structure_ids):
            raise BundleError(
                "the network does not fit the structures of the bundle",
                expected=f"{len(bundle.structure_ids)} channels",
                found=str(network.structures),
                field="bundle",
            )
        try:
            network.own_shape(bundle.frame.grid)
        except ValueError as error:
            raise BundleError("the network does not fit the crop", found=str(error), field="bundle") from error

    def check(self, options: RunOptions) -> None:
        """Refuse to place an atlas that is not there."""
        if not options.deform:
            raise OptionError(
                "this model has no atlas that could be placed by the landmarks alone",
                expected="a model with a registration network",
                found=f"the segmentation network of {self.bundle.name}",
                field="bundle",
            )

    def find(
        self, request: CheckedRequest, image: npt.NDArray[np.float32], options: RunOptions, stages: Stages
    ) -> Found:
        """Segment an ear; see `Method`."""
        with stages("segment"):
            probability = self._probability(image)
        with stages("mesh"):
            meshes = _surfaces(probability, request)
        missing = [structure_by_id(name) for name in probability if name not in meshes]
        warnings = [f"{part.name} was not found in the image: its mask is empty and it has no mesh" for part in missing]
        return Found(meshes, probability=probability, warnings=tuple(warnings))

    def _probability(self, image: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Give the sigmoid of the network's logits by structure, smaller pieces taken out when the bundle says so."""
        with torch.inference_mode():
            patient = torch.from_numpy(image)[None, None].to(self.device)
            values = torch.sigmoid(self.network(patient)[0].float()).cpu().numpy()
        if not np.isfinite(values).all():
            raise RunError("the network gives values that are not finite", hint="choose another model bundle")
        channels = dict(zip(self.bundle.structure_ids, values, strict=True))
        if self.pieces == "largest":
            channels = {name: largest_piece(channel) for name, channel in channels.items()}
        return channels


def _surfaces(probability: Mapping[str, npt.NDArray[np.float32]], request: CheckedRequest) -> dict[str, SurfaceMesh]:
    """Give the surfaces of the structures that were found, RAS mm."""
    meshes = {}
    for name, channel in probability.items():
        surface = isosurface(channel)
        if surface is not None:
            meshes[name] = surface.transformed(request.alignment.canonical_to_ras, "ras")
    return meshes
