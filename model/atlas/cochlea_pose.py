"""Where a cochlea lies in the canonical crop: its axis, its round-window direction and its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from model.atlas.cochlea_spiral import CAP, CAP_TOP_MM, LUMEN, sections_at
from model.atlas.signed_distance import SignedDistance
from model.errors import MeshError
from model.meshes.mesh import FloatArray, SurfaceMesh

CROP_CENTRE_IJK = 64.0
"""Centre of the canonical crop on every axis, in voxels."""

# Nominal left cochlea, millimetres from the crop centre along L, P, S: mean of two clinical labyrinths.
_AXIS_POINT = np.array([-4.0, -4.5, -2.35])
_TO_APEX = np.array([0.50, -0.86, -0.09])
_TO_ROUND_WINDOW = np.array([0.79, 0.50, -0.36])

_LANDMARK_SD_MM = 0.5
_SCALE_SD = 0.045
_SHIFT_SD_MM = 0.7
_TILT_SD_RAD = 0.1
_SURFACE_SD_MM = 0.15
_LARGEST_RESIDUAL_MM = 0.4


@dataclass(frozen=True)
class CochlearPose:
    """Similarity between the section frame of the mean cochlea and canonical voxels.

    Attributes:
        origin_ijk: (3,) modiolar axis at z = 0.
        axes: (3, 3) rows e_u (to the round window), e_v (angle 90 degrees), n (to the apex), unit vectors in L, P, S;
            left-handed, because the spiral of a left ear turns clockwise seen from its apex.
        scale: size relative to the mean cochlea.
        spacing_mm: size of a voxel.
        residual_mm: root mean square distance of the expected wall points to the surface it was fitted to.
    """

    origin_ijk: FloatArray
    axes: FloatArray
    scale: float
    spacing_mm: float
    residual_mm: float = 0.0

    def to_ijk(self, local: FloatArray) -> FloatArray:
        """Take points (u, v, z) of the mean cochlea, shape (..., 3), into canonical voxels."""
        return np.asarray(self.origin_ijk + (local @ self.axes) * (self.scale / self.spacing_mm))

    def to_local(self, points_ijk: FloatArray) -> FloatArray:
        """Take canonical voxels, shape (..., 3), into the frame (u, v, z) of the mean cochlea."""
        return np.asarray((points_ijk - self.origin_ijk) @ self.axes.T * (self.spacing_mm / self.scale))


def cylindrical(angle_deg: npt.ArrayLike, r: npt.ArrayLike, z: npt.ArrayLike) -> FloatArray:
    """Give points (u, v, z) of shape (..., 3) from angle, radius and height."""
    angle, radius, height = np.broadcast_arrays(np.radians(angle_deg), r, z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1).astype(np.float64)


def nominal_pose(spacing_mm: float) -> CochlearPose:
    """Give the pose of the nominal left cochlea in the canonical crop."""
    n = _TO_APEX / np.linalg.norm(_TO_APEX)
    e_u = _TO_ROUND_WINDOW - (_TO_ROUND_WINDOW @ n) * n
    e_u /= np.linalg.norm(e_u)
    return CochlearPose(
        CROP_CENTRE_IJK + _AXIS_POINT / spacing_mm, np.stack([e_u, -np.cross(n, e_u), n]), 1.0, spacing_mm
    )


def fit_pose(labyrinth_ijk: SurfaceMesh, landmarks_ijk: Mapping[str, npt.ArrayLike], spacing_mm: float) -> CochlearPose:
    """Fit the pose and size of the mean cochlea to a bony labyrinth in canonical voxels.

    Maximum a posteriori: wall points of the clinical lumen are drawn to the surface, the axis to the landmarks C and A,
    angle 0 to the landmark RW, and everything weakly to the nominal pose.

    Args:
        labyrinth_ijk: closed surface of the bony labyrinth of a left ear.
        landmarks_ijk: RW, C and A are used where given.
        spacing_mm: size of a voxel.

    Raises:
        MeshError: when the surface is not outward in voxels, or its cochlea is not where the canonical crop has it.
    """
    _refuse_unmeasurable(labyrinth_ijk)
    start = nominal_pose(spacing_mm)
    distance = SignedDistance(labyrinth_ijk.vertices, labyrinth_ijk.triangles)
    wall = _expected_wall()

    def posed(x: FloatArray) -> CochlearPose:
        axes = start.axes @ Rotation.from_rotvec(x[3:6]).as_matrix().T
        return CochlearPose(start.origin_ijk + x[:3] / spacing_mm, axes, float(np.exp(x[6])), spacing_mm)

    def residuals(x: FloatArray) -> FloatArray:
        pose = posed(x)
        surface = np.clip(distance(pose.to_ijk(wall)) * spacing_mm, -1.0, 1.0) / _SURFACE_SD_MM
        prior = x / np.array([_SHIFT_SD_MM] * 3 + [_TILT_SD_RAD] * 3 + [_SCALE_SD])
        return np.concatenate(
            [
                np.sign(surface) * np.sqrt(2 * (np.sqrt(1 + surface**2) - 1)),
                _landmark_residuals(pose, landmarks_ijk),
                prior,
            ]
        )

    fit = least_squares(residuals, np.zeros(7), diff_step=1e-3, x_scale=np.array([0.3] * 3 + [0.05] * 3 + [0.03]))
    pose = posed(fit.x)
    rms = float(np.sqrt(np.mean((distance(pose.to_ijk(wall)) * spacing_mm) ** 2)))
    _refuse_far(rms)
    return replace(pose, residual_mm=rms)


def _refuse_unmeasurable(labyrinth_ijk: SurfaceMesh) -> None:
    """Refuse a surface in another space or wound inward."""
    if labyrinth_ijk.space != "ijk" or labyrinth_ijk.signed_volume <= 0:
        raise MeshError(
            "The labyrinth cannot be measured",
            expected="a closed surface in voxels, wound outward",
            found=f"space {labyrinth_ijk.space}, signed volume {labyrinth_ijk.signed_volume:.0f}",
            hint="Take it into canonical voxels and flip its triangles if they point inward",
        )


def _refuse_far(rms_mm: float) -> None:
    """Refuse a fit that left the walls of the mean cochlea away from the surface."""
    if not rms_mm < _LARGEST_RESIDUAL_MM:
        raise MeshError(
            "The labyrinth holds no cochlea where the canonical crop has one",
            expected=f"cochlear walls within {_LARGEST_RESIDUAL_MM} mm of the mean cochlea's",
            found=f"{rms_mm:.2f} mm root mean square",
            hint="Give a left labyrinth in canonical voxels, axes left, posterior, superior",
        )


def _expected_wall() -> FloatArray:
    """Give points (u, v, z) where the clinical lumen of the mean cochlea has its walls."""
    angle, r_in, r_out, z_min, z_max = LUMEN.T
    middle_r, middle_z = (r_in + r_out) / 2, (z_min + z_max) / 2
    inner = angle >= 45
    # Past 190 degrees the cap's side stands at the partition's height.
    cap = cylindrical(CAP[:, 0], CAP[:, 1], sections_at(CAP[:, 0]).partition_z)
    top = cylindrical(np.arange(0, 360, 60), 0.5, CAP_TOP_MM - 0.05)
    return np.concatenate(
        [
            cylindrical(angle, r_out, middle_z),
            cylindrical(angle, middle_r, z_min),
            cylindrical(angle, middle_r, z_max),
            cylindrical(angle[inner], r_in[inner], middle_z[inner]),
            cap,
            top,
        ]
    )


def _landmark_residuals(pose: CochlearPose, landmarks_ijk: Mapping[str, npt.ArrayLike]) -> FloatArray:
    """Give how far, in standard deviations, C and A are off the axis and RW is off angle 0."""
    parts: list[FloatArray] = []
    for name in ("C", "A"):
        if name in landmarks_ijk:
            parts.append(pose.to_local(np.asarray(landmarks_ijk[name], dtype=np.float64))[:2])
    if "RW" in landmarks_ijk:
        parts.append(pose.to_local(np.asarray(landmarks_ijk["RW"], dtype=np.float64))[1:2])
    return np.concatenate(parts) / _LANDMARK_SD_MM if parts else np.zeros(0)
