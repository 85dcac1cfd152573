"""A trained model, as its bundle says or without the refinement on the image."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version

from model.bundle import Bundle
from model.methods.method import MethodResult, digest_of
from model.outputs.patient_masks import patient_masks
from model.request import CheckedRequest
from model.segmentation import Segmenter


class Network:
    """A model bundle of any network class; the network is loaded when the first ear comes."""

    def __init__(self, bundle: Bundle, name: str, *, refine: bool, device: str = "auto") -> None:
        """Take a bundle.

        Args:
            bundle: the model.
            name: what tables call it.
            refine: whether the bundle's refinement, if it has one, follows the network.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
        """
        self.bundle, self.name = bundle, name
        self._refine, self._device = refine, device

    @property
    def digest(self) -> str:
        """See `Method`; the version of torch counts too, since its arithmetic does."""
        return digest_of(method="network", bundle=self.bundle.digest, refine=self._refine, torch=version("torch"))

    @cached_property
    def _segmenter(self) -> Segmenter:
        return Segmenter(self.bundle, self._device)

    def segment(self, request: CheckedRequest) -> MethodResult:
        """Run the model; see `Method`."""
        found = self._segmenter.run(request, refine=self._refine)
        masks = None if found.probability is None else patient_masks(found)
        return MethodResult(found.meshes_ras, found.ddf_ijk, masks)
