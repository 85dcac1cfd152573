"""From a checked request to surfaces in the patient: align, resample, register, refine, carry the atlas over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.bundle import Bundle
from model.device import resolve_device
from model.errors import BundleError, DeviceError
from model.meshes.mesh import SurfaceMesh
from model.networks.registry import load_network
from model.outputs.segmentation import Segmentation
from model.registration.compose import then_control_grids
from model.registration.refinement import RefinementOptions, edge_reliability, refine, trust
from model.registration.warp import warp_vertices
from model.request import CheckedRequest
from model.structures import LABYRINTH
from model.volumes.resample import border_distance_mm, resample_to_canonical

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the fraction of it that is done."""

STAGES = ("resample", "register", "refine", "mesh")
"""Stages of `Segmenter.run`, in order; writing results adds `mask` and `write`."""


def _silent(stage: str, fraction: float) -> None:
    """Report to nobody."""


class Segmenter:
    """A model ready to run: loaded once, run on any number of ears."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        """Load the network of a bundle onto a device (`auto`, `cpu`, `cuda`, `cuda:N`).

        Raises:
            BundleError: the network or the refinement settings are not known.
            DeviceError: the device is not there.
        """
        self.bundle = bundle
        self.device = resolve_device(device)
        self.network = load_network(bundle, self.device)
        self.atlas_input = torch.from_numpy(bundle.atlas_input())[None].to(self.device)
        self.refinement = _refinement_options(bundle)
        if self.refinement is not None:
            labyrinth = bundle.atlas_meshes_ijk[LABYRINTH.id]
            self.reliability = edge_reliability(
                bundle.atlas_image(), labyrinth, bundle.frame.spacing_mm, self.refinement
            )

    def run(self, request: CheckedRequest, progress: Progress | None = None, *, deform: bool = True) -> Segmentation:
        """Segment one ear.

        Args:
            request: the checked image with its alignment.
            progress: told about the stages of `STAGES`.
            deform: False leaves the displacement at zero, which shows what rigid alignment alone gives.

        Raises:
            ImageError: the model cannot take the image's intensities.
            DeviceError: the device ran out of memory.
        """
        tell = progress or _silent
        timings: dict[str, float] = {}
        with _timed("resample", timings, tell):
            image, _ = request.canonical_image(self.bundle.frame, self.bundle.intensity)
        ddf = torch.zeros(3, *self.bundle.frame.grid)
        if deform:
            with _timed("register", timings, tell):
                ddf = self._register(image)
            if self.refinement is not None:
                with _timed("refine", timings, tell):
                    ddf = self._refine(ddf, request, image, self.refinement)
        with _timed("mesh", timings, tell):
            meshes = self._carry(ddf, request)
        return Segmentation(
            volume=request.volume,
            meshes_ras=meshes,
            alignment=request.alignment,
            frame=self.bundle.frame,
            ddf_ijk=ddf.numpy(),
            canonical_image=image,
            report=self._facts(request, timings),
        )

    def _facts(self, request: CheckedRequest, timings: Mapping[str, float]) -> dict[str, Any]:
        """Give the facts about the run that the report states."""
        return {
            "model": {
                "name": self.bundle.name,
                "version": self.bundle.version,
                "digest": self.bundle.digest,
                "network": self.bundle.manifest.network.class_name,
            },
            "kind": request.kind,
            "device": str(self.device),
            "timings_s": timings,
            "warnings": list(request.warnings),
        }

    def _register(self, image: npt.NDArray[np.float32]) -> Tensor:
        """Give the (3, I, J, K) field of the network, on the CPU."""
        try:
            with torch.inference_mode():
                patient = torch.from_numpy(image)[None, None].to(self.device)
                field: Tensor = self.network(patient, self.atlas_input)[0].float().cpu().clone()
                return field
        except torch.cuda.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise DeviceError("the device ran out of memory", hint="retry later, or choose another device") from error

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
        moved = warp_vertices(torch.from_numpy(labyrinth.vertices).float(), ddf, self.bundle.sampler)
        registered = labyrinth.with_vertices(moved.numpy())
        levels = refine(image, trusted, registered, self.reliability, frame.spacing_mm, options)
        return then_control_grids(ddf, levels)

    def _carry(self, ddf: Tensor, request: CheckedRequest) -> dict[str, SurfaceMesh]:
        """Give the atlas surfaces in the patient, RAS mm."""
        meshes = {}
        for name, mesh in self.bundle.atlas_meshes_ijk.items():
            moved = warp_vertices(torch.from_numpy(mesh.vertices).float(), ddf, self.bundle.sampler)
            carried = mesh.with_vertices(moved.double().numpy())
            meshes[name] = carried.transformed(request.alignment.canonical_to_ras, "ras")
        return meshes


@contextmanager
def _timed(stage: str, timings: dict[str, float], tell: Progress) -> Iterator[None]:
    """Time a stage and report its beginning and end."""
    tell(stage, 0.0)
    start = time.perf_counter()
    yield
    timings[stage] = round(time.perf_counter() - start, 3)
    tell(stage, 1.0)


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
