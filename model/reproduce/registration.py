"""Vertices, surfaces and masks from the activation maps of the published registration networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.errors import RunError
from model.inference.device_errors import device_errors
from model.masks.voxelize import voxelize_structures
from model.meshes.mesh import SurfaceMesh
from model.networks.published import PublishedRegistrationNet
from model.registration.rules import SamplerRule
from model.registration.warp import warp_vertices
from model.release.activation import check_origin
from model.reproduce.arithmetic import full_precision
from model.reproduce.fingerprint import fingerprint
from model.reproduce.maps import check_map_shape, crop_affine
from model.reproduce.predictor import Prediction

Grid = tuple[int, int, int]


class RegistrationMaps:
    """A registration network and the atlas surfaces that its field carries into the patient; see `MapPredictor`.

    A map holds the first convolution's output for (patient, atlas), bias included.
    """

    map_suffixes = (".nii.gz",)

    def __init__(
        self,
        network: PublishedRegistrationNet,
        meshes_ijk: Mapping[str, SurfaceMesh],
        *,
        method: str,
        spacing_mm: float,
        grid: Grid,
        sampler: SamplerRule,
        device: torch.device,
        atlas_input: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Keep a network, in evaluation mode, on a device.

        Args:
            network: with its weights.
            meshes_ijk: closed surfaces of the atlas in crop voxels by structure id, wound outward.
            method: name of the method in the release.
            spacing_mm: voxel size of the crops.
            grid: voxels of the crops.
            sampler: how vertices read the field.
            device: where to compute.
            atlas_input: the (1, I, J, K) image or (C, I, J, K) first activation of the atlas, when known; it shows
                which maps other weights made.
        """
        self.network = network.to(device).eval()
        self.meshes_ijk, self.grid, self.sampler, self.device = meshes_ijk, grid, sampler, device
        self.method, self.spacing_mm = method, spacing_mm
        self.structures = tuple(meshes_ijk)
        self.fingerprint = fingerprint(network, meshes_ijk, sampler)
        self.atlas_part = None if atlas_input is None else self._atlas_part(atlas_input)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Judge a map by its header; see `MapPredictor`."""
        check_map_shape(shape, self.network.base_width, self.grid)

    def predict(self, activation: npt.NDArray[np.float32]) -> Prediction:
        """Carry the atlas into the patient and voxelize it; see `MapPredictor`."""
        if self.atlas_part is not None:
            weight = self._first.weight[:, :1].detach().cpu().numpy()
            check_origin(activation - self.atlas_part, weight, np.zeros(len(weight), np.float32), "the map")
        field = self.field(activation)
        meshes = {}
        for name, mesh in self.meshes_ijk.items():
            moved = warp_vertices(torch.from_numpy(mesh.vertices).float(), field, self.sampler)
            meshes[name] = mesh.with_vertices(moved.numpy())
        # In the patient's directions, so that masks are those that the service gives of the crop.
        affine = crop_affine(self.spacing_mm)
        meshes_ras = {name: mesh.transformed(affine, "ras") for name, mesh in meshes.items()}
        return Prediction(voxelize_structures(meshes_ras, affine, self.grid), meshes)

    def field(self, activation: npt.NDArray[np.float32]) -> Tensor:
        """Give the (3, I, J, K) displacement in crop voxels, on the CPU, from a [c, i, j, k] map.

        Raises:
            RunError: it is not finite.
        """
        with device_errors(), torch.inference_mode(), full_precision():
            first = torch.from_numpy(activation)[None].to(self.device)
            field = self.network.field_from_activation(first)[0].float().cpu()
        if not torch.isfinite(field).all():
            raise RunError("the network gives values that are not finite", hint="is the map that of this network?")
        return field.clone()

    @property
    def _first(self) -> torch.nn.Conv3d:
        """The first convolution of the network."""
        conv: torch.nn.Conv3d = self.network.encoders[0].first.conv  # type: ignore[union-attr, assignment]
        return conv

    def _atlas_part(self, atlas_input: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give what the first convolution makes of the atlas beside an empty patient, bias included, [c, i, j, k]."""
        atlas = torch.from_numpy(atlas_input)[None].to(self.device)
        with torch.inference_mode(), full_precision():
            part = self.network.first_activation(torch.zeros_like(atlas[:, :1]), atlas)[0]
        return np.asarray(part.cpu().numpy(), dtype=np.float32)
