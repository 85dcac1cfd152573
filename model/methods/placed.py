"""The atlas placed by landmarks and not deformed: what every registration starts from, and what it must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.geometry.alignment import Alignment
from model.geometry.frame import CanonicalFrame
from model.geometry.spaces import apply_affine
from model.meshes.mesh import SurfaceMesh
from model.methods.method import MethodResult, digest_of
from model.request import CheckedRequest

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rigid:
    """The atlas turned and shifted by the landmarks.

    Attributes:
        bundle: its atlas.
        name: what tables call it.
    """

    bundle: Bundle
    name: str = "rigid"

    @property
    def digest(self) -> str:
        """See `Method`."""
        return digest_of(method="rigid", bundle=self.bundle.digest)

    def segment(self, request: CheckedRequest) -> MethodResult:
        """Place the atlas; see `Method`."""
        zero = np.zeros((3, *self.bundle.frame.grid), dtype=np.float32)
        return MethodResult(place_atlas(self.bundle, request.alignment.canonical_to_ras), zero)


@dataclass(frozen=True)
class Unaligned:
    """The atlas shifted only: no rotation, no deformation.

    In a prepared crop the atlas stays as it lies. In a raw CT it lies in head position (axes L, P, S, mirrored for a
    right ear) with the centre of its landmarks at that of the patient's.

    Attributes:
        bundle: its atlas.
        name: what tables call it.
    """

    bundle: Bundle
    name: str = "none"

    @property
    def digest(self) -> str:
        """See `Method`."""
        return digest_of(method="none", bundle=self.bundle.digest)

    def segment(self, request: CheckedRequest) -> MethodResult:
        """Shift the atlas; see `Method`. There is no field: the landmarks' placement is not where the atlas lies."""
        alignment = request.alignment
        to_ras = alignment.canonical_to_ras if request.kind == "prepared" else shift_only(alignment, self.bundle.frame)
        return MethodResult(place_atlas(self.bundle, to_ras), None)


def shift_only(alignment: Alignment, frame: CanonicalFrame) -> FloatArray:
    """Give the (4, 4) map, canonical ijk -> RAS mm, that puts the frame's landmarks onto the patient's by a shift.

    A rigid fit brings the two centres together, so the patient's is where the alignment leads that of the frame.
    """
    names = [name for name in frame.landmarks_ijk if name in alignment.landmark_residuals_mm]
    centre_ijk = np.mean([frame.landmarks_ijk[name] for name in names], axis=0)
    matrix = frame.affine_ras @ np.diag([-1.0 if alignment.mirrored else 1.0, 1.0, 1.0, 1.0])
    matrix[:3, 3] = apply_affine(alignment.canonical_to_ras, centre_ijk) - matrix[:3, :3] @ centre_ijk
    return matrix


def place_atlas(bundle: Bundle, canonical_to_ras: FloatArray) -> dict[str, SurfaceMesh]:
    """Give the surfaces of the atlas under a (4, 4) map, canonical ijk -> RAS mm."""
    return {name: mesh.transformed(canonical_to_ras, "ras") for name, mesh in bundle.atlas_meshes_ijk.items()}
