"""Synthetic ears of the shipped atlas, written as a user would have them: CT, label, landmarks and truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from model.bundle import Bundle
from model.geometry.landmarks import Landmarks, Side
from model.geometry.spaces import RAS_LPS
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.request import CheckedRequest, check_request
from model.structures import STRUCTURE_IDS
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.export import write_ear
from model.synthesis.template import build_template

BUNDLE = "cochlea-ct-v2"
SEEDS: dict[Side, int] = {"left": 3, "right": 4}
"""Seeds below those that training uses."""

PLAIN = EarOptions(implant_share=0.0, drained_share=0.0, full_field_share=1.0, with_ddf=False)
"""Ears filled with fluid, without implant, wholly in the field of view."""


def write_ears(bundle: Bundle, folder: Path) -> dict[Side, Path]:
    """Write one ear of each side."""
    atlas = bundle.atlas_meshes_ijk
    template = build_template(atlas)
    for side, seed in SEEDS.items():
        write_ear(synthesize_ear(atlas, seed, PLAIN, template), atlas, bundle.frame, folder / side, side)
    return {side: folder / side for side in SEEDS}


def read_truth(folder: Path) -> dict[str, SurfaceMesh]:
    """Read the true surfaces of an ear, RAS mm."""
    return {name: read_mesh(folder / "truth" / f"{name}.vtk").transformed(RAS_LPS, "ras") for name in STRUCTURE_IDS}


def request_of(folder: Path, bundle: Bundle, image: str | Path = "ct.nii.gz") -> CheckedRequest:
    """Check the image of an ear with its landmarks; `image` is a name in the folder or a path."""
    landmarks = Landmarks.parse((folder / "landmarks.json").read_bytes())
    return check_request(folder / image, landmarks=landmarks, side=None, frame=bundle.frame, intensity=bundle.intensity)


def mean_error_mm(found_ras: SurfaceMesh, truth_ras: SurfaceMesh) -> float:
    """Give the mean distance of corresponding vertices."""
    return float(np.linalg.norm(found_ras.vertices - truth_ras.vertices, axis=1).mean())


def copy_with_quick_refinement(bundle_folder: Path, checkpoints: Path) -> Path:
    """Copy a bundle and shorten its refinement, for tests of what does not depend on how far it goes."""
    copy = checkpoints / bundle_folder.name
    shutil.copytree(bundle_folder, copy)
    document = json.loads((copy / "bundle.json").read_text())
    document["refinement"] = {"steps": 4, "levels": [4, 6], "points": 1000}
    (copy / "bundle.json").write_text(json.dumps(document))
    return copy
