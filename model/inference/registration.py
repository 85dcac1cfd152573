"""Registration: a network's displacement field carries the atlas into the patient, refined against the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.bundle import Bundle
from model.errors import BundleError
from model.inference.method import Found, RunOptions
from model.inference.stages import Stages
from model.meshes.mesh import SurfaceMesh
from model.networks.registry import load_network
from model.registration.compose import then_control_grids
from model.registration.edges import edge_reliability
from model.registration.refinement import refine
from model.registration.refinement_options import RefinementOptions
from model.registration.trust import trust
from model.registration.warp import warp_vertices
from model.request import CheckedRequest
from model.structures import LABYRINTH
from model.volumes.resample import border_distance_mm, resample_to_canonical


class RegistrationMethod:
    """A registration network with its atlas."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        """Load the network of a bundle onto a device.

        Raises:
            BundleError: the network or the refinement settings are not known, or there is no atlas.
        """
        self.bundle, self.device = bundle, device
        self.network = load_network(bundle, device)
        self.atlas_input = torch.from_numpy(bundle.atlas_input())[None].to(device)
        self.refinement = _refinement_options(bundle)
        if self.refinement is not None:
            labyrinth, options = bundle.atlas_meshes_ijk[LABYRINTH.id], self.refinement
            self.reliability = edge_reliability(
                bundle.atlas_image(), labyrinth, bundle.frame.spacing_mm, options.depths_mm, options.full_edge
            )
            others = [mesh.vertices for name, mesh in bundle.atlas_meshes_ijk.items() if name != LABYRINTH.id]
            self.held_ijk = np.concatenate([np.zeros((0, 3)), *others])

    def check(self, options: RunOptions) -> None:
        """Take any options."""

    def find(
        self, request: CheckedRequest, image: npt.NDArray[np.float32], options: RunOptions, stages: Stages
    ) -> Found:
        """Carry the atlas into an ear; see `Method`."""
        ddf = torch.zeros(3, *self.bundle.frame.grid)
        if options.deform:
            with stages("register"):
                ddf = self._register(image)
            if options.refine and self.refinement is not None:
                with stages("refine"):
                    ddf = self._refine(ddf, request, image, self.refinement)
        with stages("mesh"):
            meshes = self._carry(ddf, request)
        return Found(meshes, ddf_ijk=ddf.numpy())

    def _register(self, image: npt.NDArray[np.float32]) -> Tensor:
        """Give the (3, I, J, K) field of the network, on the CPU."""
        with torch.inference_mode():
            patient = torch.from_numpy(image)[None, None].to(self.device)
            field: Tensor = self.network(patient, self.atlas_input)[0].float().cpu().clone()
            return field

    def _refine(
        self,
        ddf: Tensor,
        request: CheckedRequest,
        image: npt.NDArray[np.float32],
        options: RefinementOptions,
    ) -> Tensor:
        """Follow the network's field by the one that draws the labyrinth to its edge in the image."""
        frame = self.bundle.frame
        if request.kind == "raw":
            fill_hu = self.bundle.intensity.fill_hu
            hounsfield, _ = resample_to_canonical(request.volume, request.alignment, frame, fill_hu)
            metal = hounsfield >= options.metal_hu
        else:
            metal = image >= 1.0
        depth_mm = border_distance_mm(request.volume, request.alignment, frame)
        trusted = trust(depth_mm, metal, frame.spacing_mm, options)
        labyrinth = self.bundle.atlas_meshes_ijk[LABYRINTH.id]
        registered = labyrinth.with_vertices(self._moved(labyrinth.vertices, ddf))
        held = self._moved(self.held_ijk, ddf)
        levels = refine(image, trusted, registered, self.reliability, held, frame.spacing_mm, options)
        return then_control_grids(ddf, levels)

    def _moved(self, points_ijk: npt.NDArray[np.floating], ddf: Tensor) -> npt.NDArray[np.float32]:
        """Carry (N, 3) points of the atlas by a field."""
        moved = warp_vertices(torch.from_numpy(points_ijk).float(), ddf, self.bundle.sampler)
        return np.asarray(moved.numpy(), dtype=np.float32)

    def _carry(self, ddf: Tensor, request: CheckedRequest) -> dict[str, SurfaceMesh]:
        """Give the atlas surfaces in the patient, RAS mm."""
        meshes = {}
        for name, mesh in self.bundle.atlas_meshes_ijk.items():
            carried = mesh.with_vertices(self._moved(mesh.vertices, ddf).astype(np.float64))
            meshes[name] = carried.transformed(request.alignment.canonical_to_ras, "ras")
        return meshes


def _refinement_options(bundle: Bundle) -> RefinementOptions | None:
    """Read the refinement settings of a bundle; None when it has none.

    Raises:
        BundleError: a setting is not known, or the atlas has no labyrinth to refine.
    """
    settings = bundle.manifest.refinement
    if settings is None:
        return None
    if LABYRINTH.id not in bundle.atlas_meshes_ijk:
        raise BundleError("the bundle asks for a refinement but has no labyrinth", field="bundle")
    try:
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
        return RefinementOptions(**values)  # type: ignore[arg-type]
    except TypeError as error:
        raise BundleError("the bundle's refinement settings are not known", found=", ".join(settings)) from error
