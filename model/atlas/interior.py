"""What a labyrinth label leaves out: the scalae and the modiolus inside a bony labyrinth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from model.atlas.cochlea_pose import CochlearPose, fit_pose
from model.atlas.cochlea_spiral import LAST_ANGLE_DEG, PARTITION_MM
from model.atlas.cochlea_walls import MARGIN_MM, measure_walls
from model.atlas.modiolus import modiolus_mesh
from model.atlas.scalae import confined, scala_mesh, scala_tympani, scala_vestibuli
from model.atlas.signed_distance import SignedDistance
from model.errors import MeshError
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.structures import MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI

_COCHLEAR_REACH_MM = 0.6
_HUB = (2.6, -1.3, 4.0)


def build_interior(
    labyrinth_ijk: SurfaceMesh, frame_landmarks_ijk: Mapping[str, npt.ArrayLike], spacing_mm: float = 0.2
) -> dict[str, SurfaceMesh]:
    """Build the scalae and the modiolus inside a bony labyrinth.

    The mean cochlea is posed and scaled to the labyrinth, its walls follow the labyrinth's, and both scalae are
    confined to its inside.

    Args:
        labyrinth_ijk: closed, outward surface of a left labyrinth in canonical voxels.
        frame_landmarks_ijk: landmarks RW, C, A in canonical voxels; those given steady the pose.
        spacing_mm: size of a canonical voxel.

    Returns:
        Closed, outward surfaces in canonical voxels by structure id, each with `angle_deg` (float32): degrees along the
        spiral, 0 at the round window.

    Raises:
        MeshError: when the labyrinth's cochlea is not where the canonical crop has it, or too narrow for the scalae.
    """
    pose = fit_pose(labyrinth_ijk, frame_landmarks_ijk, spacing_mm)
    distance = SignedDistance(labyrinth_ijk.vertices, labyrinth_ijk.triangles)
    tympani, vestibuli = _scalae_inside(pose, distance)
    _refuse_outside(distance, spacing_mm, (tympani, vestibuli))
    modiolus = modiolus_mesh((tympani, vestibuli), pose)
    turns = _angle_along(modiolus.vertices, pose, (tympani, vestibuli))[0]
    return {
        MODIOLUS.id: replace(modiolus, point_data={"angle_deg": turns}),
        SCALA_TYMPANI.id: tympani,
        SCALA_VESTIBULI.id: vestibuli,
    }


def cochlear_angle(
    labyrinth_ijk: SurfaceMesh,
    frame_landmarks_ijk: Mapping[str, npt.ArrayLike] | None = None,
    spacing_mm: float = 0.2,
) -> npt.NDArray[np.float32]:
    """Give the angle along the spiral, in degrees from the round window, at the cochlear vertices of a labyrinth.

    Args:
        labyrinth_ijk: closed surface of a left labyrinth in canonical voxels.
        frame_landmarks_ijk: landmarks RW, C, A in canonical voxels; those given steady the pose.
        spacing_mm: size of a canonical voxel.

    Returns:
        (N,) float32, NaN at the vertices of the vestibule and the canals.

    Raises:
        MeshError: when the labyrinth's cochlea is not where the canonical crop has it.
    """
    pose = fit_pose(labyrinth_ijk, frame_landmarks_ijk or {}, spacing_mm)
    distance = SignedDistance(labyrinth_ijk.vertices, labyrinth_ijk.triangles)
    walls = measure_walls(pose, distance)
    scalae = (scala_mesh(scala_tympani(walls), pose), scala_mesh(scala_vestibuli(walls), pose))
    angle, apart_mm = _angle_along(labyrinth_ijk.vertices, pose, scalae)
    u, v, z = pose.to_local(labyrinth_ijk.vertices).T
    hub = (np.hypot(u, v) < _HUB[0]) & (z > _HUB[1]) & (z < _HUB[2])
    cochlear = ((apart_mm < _COCHLEAR_REACH_MM) | hub) & (angle >= 0)
    return np.where(cochlear, angle, np.nan).astype(np.float32)


def _scalae_inside(pose: CochlearPose, distance: SignedDistance) -> tuple[SurfaceMesh, SurfaceMesh]:
    """Give the scala tympani inside a labyrinth, and the scala vestibuli inside it and apart from the scala tympani."""
    walls = measure_walls(pose, distance)

    def inside(points_ijk: FloatArray) -> FloatArray:
        return -distance(points_ijk) * pose.spacing_mm - MARGIN_MM

    tympani = scala_mesh(confined(scala_tympani(walls), pose, inside), pose)
    to_tympani = SignedDistance(tympani.vertices, tympani.triangles)
    # Somewhat less than the partition, so that the scala vestibuli's own floor, drawn at that gap, is let be.
    gap = 0.7 * PARTITION_MM * pose.scale

    def inside_and_apart(points_ijk: FloatArray) -> FloatArray:
        return np.minimum(inside(points_ijk), to_tympani(points_ijk) * pose.spacing_mm - gap)

    return tympani, scala_mesh(confined(scala_vestibuli(walls), pose, inside_and_apart), pose)


def _refuse_outside(distance: SignedDistance, spacing_mm: float, scalae: tuple[SurfaceMesh, ...]) -> None:
    """Refuse scalae that could not be confined to the labyrinth."""
    outside = max(float(distance(scala.vertices).max()) for scala in scalae) * spacing_mm
    if outside > 0:
        raise MeshError(
            "The cochlea of the labyrinth is too narrow for the scalae",
            expected="a lumen open along 2.5 turns and into the vestibule",
            found=f"a scala up to {outside:.2f} mm outside",
            hint="Give the surface of a whole labyrinth label, its cochlea filled",
        )


def _angle_along(
    points_ijk: FloatArray, pose: CochlearPose, scalae: tuple[SurfaceMesh, ...]
) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """Give every point's angle, of the turn of the nearest scala, and its distance to that scala in millimetres."""
    tree = cKDTree(np.concatenate([scala.vertices for scala in scalae]))
    known = np.concatenate([scala.point_data["angle_deg"] for scala in scalae])
    apart, nearest = tree.query(points_ijk)
    u, v, _ = pose.to_local(points_ijk).T
    azimuth = np.degrees(np.arctan2(v, u))
    angle = azimuth + 360.0 * np.round((known[nearest] - azimuth) / 360.0)
    return np.minimum(angle, LAST_ANGLE_DEG).astype(np.float32), apart * pose.spacing_mm
