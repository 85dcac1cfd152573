"""Synthetic ears as files: the layout of the real ears, in a random patient pose, with the truth beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from model.geometry.frame import CanonicalFrame, Point
from model.geometry.landmarks import Landmarks, Side
from model.geometry.spaces import RAS_LPS, apply_affine
from model.masks.labels import label_map
from model.masks.voxelize import voxelize
from model.meshes.formats import write_mesh
from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH
from model.synthesis.ear import SyntheticEar
from model.synthesis.grid import CANONICAL_SPACING_MM, FloatArray
from model.synthesis.insert import InsertedImplant
from model.volumes.volume import Volume
from model.volumes.write import write_nifti

_LABEL_INTENT = 1002
_POSE_STREAM = 7


@dataclass(frozen=True)
class PatientPose:
    """Where an ear lies in a patient.

    Attributes:
        side: the ear.
        canonical_to_ras: (4, 4) canonical ijk -> RAS mm; mirrors right ears.
    """

    side: Side
    canonical_to_ras: FloatArray


def random_pose(rng: np.random.Generator, side: Side | None = None) -> PatientPose:
    """Draw the pose of a patient's head in the scanner: a side, a turn of some 12 degrees, a place.

    Args:
        rng: source of randomness.
        side: the ear, or None to draw it.
    """
    drawn: Side = "left" if rng.uniform() < 0.5 else "right"
    side = side or drawn
    turn = Rotation.from_rotvec(np.radians(rng.normal(0.0, 12.0, 3))).as_matrix()
    # Canonical axes are L, P, S of a left ear; mirrored, the first points to the right.
    directions = np.diag([-1.0 if side == "left" else 1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * CANONICAL_SPACING_MM
    place = np.array([-40.0 if side == "left" else 40.0, 0.0, 0.0]) + rng.normal(0.0, 30.0, 3)
    affine[:3, 3] = place - affine[:3, :3] @ np.full(3, 63.5)
    return PatientPose(side, affine)


def noisy_landmarks(ear: SyntheticEar, frame: CanonicalFrame, pose: PatientPose, rng: np.random.Generator) -> Landmarks:
    """Set the landmarks of an ear as a person would: the atlas's carried along, each off by some 0.2 to 0.5 mm.

    Args:
        ear: the ear.
        frame: has the landmarks of the atlas.
        pose: where the ear lies.
        rng: source of the placement error.
    """
    atlas_points = np.array(list(frame.landmarks_ijk.values()), dtype=np.float64)
    error = rng.standard_normal(atlas_points.shape) * rng.uniform(0.2, 0.5) / np.sqrt(3.0) / CANONICAL_SPACING_MM
    placed = apply_affine(pose.canonical_to_ras, ear.deformation.displace(atlas_points) + error)
    points: dict[str, Point] = {
        name: (round(float(x), 3), round(float(y), 3), round(float(z), 3))
        for name, (x, y, z) in zip(frame.landmarks_ijk, placed, strict=True)
    }
    return Landmarks(points, pose.side)


def write_ear(
    ear: SyntheticEar, atlas: Mapping[str, SurfaceMesh], frame: CanonicalFrame, folder: Path, side: Side | None = None
) -> PatientPose:
    """Write one ear.

    Files: `ct.nii.gz` (int16 HU), `labyrinth.nii.gz` (0/1), `landmarks.json`, `truth/<structure>.vtk` (LPS mm, vertices
    correspond to the atlas's), `truth/labels.nii.gz`, `ear.json` (seed, side, electrode contacts, everything drawn).

    Args:
        ear: an ear at 0.2 mm.
        atlas: the atlas it was made of.
        frame: the canonical frame with the atlas's landmarks.
        folder: created when missing.
        side: the patient's ear, or None to draw it.

    Returns:
        The pose in which it was written; the same for the same seed.

    Raises:
        ValueError: when the ear was not rendered on the canonical grid.
    """
    if not np.allclose(ear.to_canonical, np.eye(4)):
        raise ValueError("ear: expected an image on the canonical grid of 0.2 mm")
    rng = np.random.default_rng([ear.seed, _POSE_STREAM])
    pose = random_pose(rng, side)
    meshes_ijk = {name: atlas[name].with_vertices(vertices) for name, vertices in ear.vertices_ijk.items()}
    truth = folder / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    for name, mesh in meshes_ijk.items():
        write_mesh(mesh.transformed(RAS_LPS @ pose.canonical_to_ras, "lps"), truth / f"{name}.vtk", title=name)
    shape = (ear.image_hu.shape[0], ear.image_hu.shape[1], ear.image_hu.shape[2])
    masks = {name: voxelize(mesh, shape) for name, mesh in meshes_ijk.items()}
    _write_image(folder / "ct.nii.gz", np.round(ear.image_hu).astype(np.int16), pose)
    _write_image(folder / "labyrinth.nii.gz", masks[LABYRINTH.id].astype(np.uint8), pose, _LABEL_INTENT)
    _write_image(truth / "labels.nii.gz", label_map(masks), pose, _LABEL_INTENT)
    landmarks = noisy_landmarks(ear, frame, pose, rng)
    (folder / "landmarks.json").write_text(json.dumps(landmarks.to_json(), indent=1) + "\n", encoding="utf-8")
    contacts_ras = apply_affine(pose.canonical_to_ras, ear.contacts_ijk)
    record = {
        "seed": ear.seed,
        "side": pose.side,
        "canonical_to_ras": pose.canonical_to_ras.tolist(),
        "contacts_ras": np.round(contacts_ras, 4).tolist(),
        **ear.parameters,
    }
    (folder / "ear.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return pose


def write_inserted(inserted: InsertedImplant, volume: Volume, landmarks: Landmarks, folder: Path) -> None:
    """Write a real ear with an inserted implant.

    Files: `ct.nii.gz` (int16 HU) and `metal.nii.gz` (0/1) on the grid and affine of the ear's image, `landmarks.json`,
    `implant.json` (see `InsertedImplant.to_json`).

    Args:
        inserted: the ear with its implant.
        volume: the image it was inserted into.
        landmarks: of the ear.
        folder: created when missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / "ct.nii.gz", inserted.image_hu, volume.affine, like=volume)
    metal = inserted.metal.astype(np.uint8)
    write_nifti(folder / "metal.nii.gz", metal, volume.affine, like=volume, intent=_LABEL_INTENT)
    for name, document in (("landmarks.json", landmarks.to_json()), ("implant.json", inserted.to_json())):
        (folder / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _write_image(
    path: Path, data: np.ndarray[tuple[int, ...], np.dtype[np.generic]], pose: PatientPose, intent: int = 0
) -> None:
    """Write an array of the canonical crop where the ear lies; right ears are stored unmirrored."""
    affine = pose.canonical_to_ras
    if pose.side == "right":
        flip = np.diag([-1.0, 1.0, 1.0, 1.0])
        flip[0, 3] = data.shape[0] - 1
        data, affine = np.ascontiguousarray(data[::-1]), affine @ flip
    write_nifti(path, data, affine, intent=intent)
