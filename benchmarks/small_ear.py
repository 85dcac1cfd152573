"""A small real bundle and a small made-up ear, for runs in which the service matters and not the anatomy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import trimesh

from model.bundle import BundleDescription, write_bundle
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.networks.published import PublishedRegistrationNet
from model.structures import STRUCTURE_IDS

BUNDLE = "small"

_FRAME_RAS = np.diag([-1.0, -1.0, 1.0])
_ORIGIN_RAS = np.array([31.0, -42.0, 17.0])
_LANDMARKS_MM = {
    "RW": (13.56, 11.49, 8.5),
    "C": (8.94, 8.39, 10.32),
    "A": (10.41, 5.94, 9.92),
    "OW": (13.79, 10.98, 11.35),
    "V": (13.08, 12.45, 11.98),
}
"""Positions in a canonical crop of 25.6 mm, from its corner along L, P and S."""


@dataclass(frozen=True)
class Ear:
    """A raw CT of a left ear and its landmarks, as files."""

    image: Path
    landmarks: Path

    def form(self) -> dict[str, Any]:
        """Give the arguments of a request that submits it."""
        return {"files": {"image": self.image.read_bytes()}, "data": {"landmarks": self.landmarks.read_text()}}


def make_ear(folder: Path, seed: int = 0) -> Ear:
    """Write an ear: smooth noise in Hounsfield units on a grid of unequal sides and spacings.

    The landmarks lie at the canonical places of a left ear, by the meaning of L, P, S, so alignment is near identity.
    """
    rng = np.random.default_rng(seed)
    shape, spacing = (52, 56, 60), np.array([0.5, 0.46, 0.43])
    waves = [np.sin(np.linspace(0, rng.uniform(4, 9), size) + rng.uniform(0, 6)) for size in shape]
    data = 600.0 * np.einsum("i,j,k->ijk", *waves) + rng.normal(0.0, 30.0, shape)
    affine = np.eye(4)
    affine[:3, :3] = _FRAME_RAS * spacing
    affine[:3, 3] = _ORIGIN_RAS
    image, landmarks = folder / "ear.nii.gz", folder / "landmarks.json"
    picture = nibabel.Nifti1Image(data.astype(np.int16), affine)
    picture.to_filename(image)
    points = {name: (_ORIGIN_RAS + _FRAME_RAS @ np.array(place)).tolist() for name, place in _LANDMARKS_MM.items()}
    landmarks.write_text(json.dumps({"side": "left", "space": "RAS", "unit": "mm", "landmarks": points}))
    return Ear(image, landmarks)


def write_small_bundle(checkpoints: Path, name: str = BUNDLE, *, width: int = 2, fineness: int = 1) -> None:
    """Write a bundle with a real network too small to be good: 32^3 voxels, spheres for structures, fresh weights.

    The last layer is scaled down, so that the field is smooth and small and the surfaces stay whole.

    Args:
        checkpoints: folder of bundles.
        name: its name.
        width: channels of the first level; many make it slow.
        fineness: voxels along a side in the place of one.
    """
    torch.manual_seed(0)
    network = PublishedRegistrationNet(base_width=width, levels=2)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    for key in ("field.weight", "field.bias"):
        state[key] = state[key] * np.float32(0.01)
    description = BundleDescription.model_validate(
        {
            "name": name,
            "version": "0.1.0",
            "licence": "Apache-2.0",
            "intended_use": "Tests only.",
            "network": {"class": "published_registration", "parameters": {"base_width": width, "levels": 2}},
            "frame": small_frame(fineness).to_json(),
            "intensity": {"rule": "hu_window", "low": -1000, "high": 2600},
            "training": {"data": "none"},
        }
    )
    image = np.random.default_rng(0).uniform(-1.0, 1.0, (32 * fineness,) * 3).astype(np.float32)
    meshes = _spheres(fineness)
    write_bundle(checkpoints / name, description, weights=state, atlas_meshes_ijk=meshes, atlas_input=image)


def small_frame(fineness: int = 1) -> CanonicalFrame:
    """Give a canonical crop of 32^3 voxels, or a multiple along each side, in which the ear of `make_ear` lies."""
    spacing, side = 0.8 / fineness, 32 * fineness
    landmarks = {key: (i / spacing, j / spacing, k / spacing) for key, (i, j, k) in _LANDMARKS_MM.items()}
    return CanonicalFrame((side, side, side), spacing, "LPS", "left", landmarks)


def _spheres(fineness: int) -> dict[str, SurfaceMesh]:
    """Give one sphere per structure, the labyrinth around the others, in voxels of that fineness."""
    centres = {"modiolus": (12, 16, 16), "scala_tympani": (20, 16, 16), "scala_vestibuli": (16, 21, 16)}
    sphere = trimesh.creation.icosphere(2, 1.0)
    spheres = {}
    for structure_id in STRUCTURE_IDS:
        radius = 2.5 if structure_id in centres else 10.0
        vertices = np.asarray(sphere.vertices) * radius + centres.get(structure_id, (16, 16, 16))
        spheres[structure_id] = SurfaceMesh(vertices * fineness, np.asarray(sphere.faces, dtype=np.int32), "ijk")
    return spheres
