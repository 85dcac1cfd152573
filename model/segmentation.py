"""From a checked request to the structures of the patient: align, resample, and let the model find them."""

from __future__ import annotations

from typing import Any

import torch

from model.bundle import Bundle
from model.device import resolve_device
from model.inference.device_errors import device_errors
from model.inference.method import Found, Method, RunOptions
from model.inference.registration import RegistrationMethod
from model.inference.segmentation_network import SegmentationMethod
from model.inference.stages import Progress, Stages
from model.networks.registry import SEGMENTATION_NETWORKS
from model.outputs.segmentation import Segmentation
from model.registration.refinement_options import RefinementOptions
from model.request import CheckedRequest

STAGES = ("resample", "register", "refine", "mesh")
"""Stages of `Segmenter.run` with a registration network, in order; writing results adds `mask` and `write`."""

SEGMENTATION_STAGES = ("resample", "segment", "mesh")
"""The same with a segmentation network."""


class Segmenter:
    """A model ready to run: loaded once, run on any number of ears.

    Attributes:
        bundle: the model as it was loaded.
        device: where its network lies.
        method: the registration or the segmentation by its network.
    """

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        """Load the network of a bundle onto a device (`auto`, `cpu`, `cuda`, `cuda:N`).

        Raises:
            BundleError: the network or its settings are not known, or do not fit the bundle.
            DeviceError: the device is not there or lets the loading down.
            MemoryError: the memory of the machine does not suffice.
        """
        self.bundle = bundle
        self.device = resolve_device(device)
        with device_errors():
            self.method = _method(bundle, self.device)

    @property
    def refinement(self) -> RefinementOptions | None:
        """Settings of the refinement of the field; None when the model has none."""
        return self.method.refinement if isinstance(self.method, RegistrationMethod) else None

    def run(
        self, request: CheckedRequest, progress: Progress | None = None, *, deform: bool = True, refine: bool = True
    ) -> Segmentation:
        """Segment one ear.

        Args:
            request: the checked image with its alignment.
            progress: told about the stages of `STAGES` or `SEGMENTATION_STAGES`.
            deform: False leaves the displacement at zero, which shows what rigid alignment alone gives.
            refine: False leaves out the refinement of the field, where the model has one.

        Raises:
            ImageError: the model cannot take the image's intensities.
            OptionError: `deform` is False and the model is a segmentation network, which has no atlas to place.
            DeviceError: the device ran out of memory or failed.
            MemoryError: the memory of the machine does not suffice.
        """
        options = RunOptions(deform, refine)
        self.method.check(options)
        stages = Stages(progress)
        with stages("resample"):
            image, _ = request.canonical_image(self.bundle.frame, self.bundle.intensity)
        with device_errors():
            found = self.method.find(request, image, options, stages)
        return Segmentation(
            volume=request.volume,
            meshes_ras=found.meshes_ras,
            alignment=request.alignment,
            frame=self.bundle.frame,
            ddf_ijk=found.ddf_ijk,
            canonical_image=image,
            report=self._facts(request, found, stages),
            probability=found.probability,
        )

    def _facts(self, request: CheckedRequest, found: Found, stages: Stages) -> dict[str, Any]:
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
            "timings_s": dict(stages.timings_s),
            "warnings": [*request.warnings, *found.warnings],
        }


def _method(bundle: Bundle, device: torch.device) -> Method:
    """Load the network of a bundle in the way its class is run."""
    if bundle.manifest.network.class_name in SEGMENTATION_NETWORKS:
        return SegmentationMethod(bundle, device)
    return RegistrationMethod(bundle, device)
