"""What a run hands to the writers: the structures in the patient, what they were made from, and how it was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from model.geometry.alignment import Alignment
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.volumes.volume import Volume


@dataclass(frozen=True)
class Segmentation:
    """A segmented ear.

    Attributes:
        volume: the patient image on its own grid.
        meshes_ras: closed surfaces in RAS mm by structure id, wound outward; those that were not found are missing.
            Of a registration, vertex i is the same point of the atlas in every patient, and point data such as
            `angle_deg` stay with the vertices.
        alignment: where the canonical frame lies in the patient.
        frame: the canonical frame.
        ddf_ijk: (3, I, J, K) float32 on the canonical grid, in canonical voxels, channel c along axis c: a point p of
            the atlas lies at p + ddf(p) in the patient. None for segmentation networks, which move no atlas.
        canonical_image: float32 [i, j, k], the patient image in the canonical frame as the network saw it.
        report: facts about the run for the report; the keys are those of `model.outputs.report.RunFacts`.
        probability: float32 [i, j, k] on the canonical grid by structure id, found or not, of a segmentation network:
            above 0.5 is in the structure. None for registrations.
    """

    volume: Volume
    meshes_ras: Mapping[str, SurfaceMesh]
    alignment: Alignment
    frame: CanonicalFrame
    ddf_ijk: npt.NDArray[np.float32] | None
    canonical_image: npt.NDArray[np.float32]
    report: Mapping[str, Any] = field(default_factory=dict)
    probability: Mapping[str, npt.NDArray[np.float32]] | None = None

    @property
    def structure_ids(self) -> tuple[str, ...]:
        """Ids of the structures that were looked for, found or not."""
        return tuple(self.meshes_ras if self.probability is None else self.probability)

    def meshes_canonical_ijk(self) -> dict[str, SurfaceMesh]:
        """Give the surfaces in voxels of the canonical frame."""
        return {
            name: mesh.transformed(self.alignment.ras_to_canonical, "ijk") for name, mesh in self.meshes_ras.items()
        }
