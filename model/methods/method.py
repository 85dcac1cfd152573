"""What a way to segment an ear takes and gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.meshes.mesh import SurfaceMesh
from model.request import CheckedRequest


@dataclass(frozen=True)
class MethodResult:
    """A segmented ear, as far as comparing methods needs it.

    Attributes:
        meshes_ras: closed surfaces in RAS mm by structure id, wound outward; structures that were not found are left
            out.
        ddf_ijk: (3, I, J, K) float32 on the canonical grid, in canonical voxels, channel c along axis c: a point p of
            the atlas, placed by the landmarks, lies at p + ddf(p) in the patient. None for methods that move no atlas.
        masks: bool [i, j, k] on the image's own grid by structure id, of methods that find masks rather than surfaces;
            None where the masks are those of the surfaces.
    """

    meshes_ras: Mapping[str, SurfaceMesh]
    ddf_ijk: npt.NDArray[np.float32] | None
    masks: Mapping[str, npt.NDArray[np.bool_]] | None = None


class Method(Protocol):
    """A way to segment an ear; the same ear gives the same result."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def bundle(self) -> Bundle:
        """The model or atlas it works with; requests are to be checked for its frame and intensities."""

    @property
    def digest(self) -> str:
        """Hexadecimal digest of what its results depend on besides the ear and the code: weights, atlas, settings."""

    def segment(self, request: CheckedRequest) -> MethodResult:
        """Segment one ear."""


def digest_of(**facts: Any) -> str:  # noqa: ANN401 - any JSON values
    """Give the SHA-256 of facts, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
