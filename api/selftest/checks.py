"""What is checked of downloaded results; each check is a figure with its limit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import RunError
from model.evaluation.overlap import dice
from model.evaluation.phantom import read_surfaces, vertex_errors_mm
from model.masks.voxelize import BoolArray, voxelize_structures
from model.meshes.mesh import SurfaceMesh
from model.structures import STRUCTURES
from model.volumes.read import read_image
from model.volumes.volume import Volume

LEAST_DICE = 0.75
"""Overlap of mask and truth, of each structure; the shipped bundle has 0.83 at least on the default phantom."""
REFERENCE_MM = {
    ("079e735639a6e09034a636635e215c4f35e44a3abe378820da02ce9184fab3f4", 11): {
        "modiolus": 0.2215,
        "scala_tympani": 0.2045,
        "scala_vestibuli": 0.1750,
        "labyrinth": 0.1463,
    }
}
"""Mean vertex errors as measured by the self-test, on one CPU core, by digest of the model and seed of the phantom."""
REFERENCE_TOLERANCE_MM = 0.02
"""How far the same model may be from its own figure; another axis order changes it by less than 0.001."""
LEAST_AGREEMENT = 0.99
"""Overlap of a mask with the voxelized mesh of the same results; made from it, it differs by rounding only."""
LARGEST_SHIFT_MM = 0.001
"""How far a corner of a mask may lie from the same corner of the image (NIfTI stores single precision)."""
LARGEST_ORDER_MM = 0.01
"""How far a vertex may move when the same image is stored in another axis order."""
LEAST_ORDER_DICE = 0.99


@dataclass(frozen=True)
class Check:
    """One figure and its limit.

    Attributes:
        name: what was checked.
        found: the figure.
        limit: what it may be.
        unit: `mm`, `Dice`, or what is counted.
        at_most: whether the limit is an upper one.
    """

    name: str
    found: float
    limit: float
    unit: str
    at_most: bool = True

    @property
    def passed(self) -> bool:
        """Whether the figure keeps the limit; one that is no number does not."""
        return self.found <= self.limit if self.at_most else self.found >= self.limit


@dataclass(frozen=True)
class Results:
    """Downloaded results and the image they belong to.

    Attributes:
        folder: the results.
        image: the image as it was sent.
    """

    folder: Path
    image: Path


def check_files(folder: Path) -> Check:
    """Count the files that are missing, damaged or not listed in `manifest.json`."""
    listed = {
        str(entry["name"]): str(entry["sha256"])
        for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    }
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    # The manifest cannot list itself, nor the archive that holds it.
    there -= {"manifest.json", "archive.zip"}
    wrong = there ^ set(listed)
    for name in there & set(listed):
        with (folder / name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != listed[name]:
                wrong.add(name)
    return Check("files that differ from manifest.json", len(wrong), 0, "files")


def check_truth(results: Results, truth: Path, tolerance_mm: float) -> list[Check]:
    """Compare meshes and masks with the truth, and with each other.

    Args:
        results: what came back.
        truth: folder of the true surfaces.
        tolerance_mm: mean vertex error that is allowed.

    Raises:
        RunError: when the model of the service has another atlas than the phantom.
    """
    image = read_image(results.image)
    found, true = read_surfaces(results.folder / "meshes"), read_surfaces(truth)
    if any(found[part.id].vertices.shape != true[part.id].vertices.shape for part in STRUCTURES):
        raise RunError(
            "the model of the service has another atlas than this program's",
            expected="meshes with the vertices of the phantom's",
            found="others",
            hint="name a model that both have with --bundle",
        )
    true_masks, found_masks = _voxelized(true, image), _voxelized(found, image)
    checks = []
    for part in STRUCTURES:
        mask = _mask(results.folder, part.id)
        error = float(vertex_errors_mm(found[part.id], true[part.id]).mean())
        overlap = _overlap(mask, true_masks[part.id])
        agreement = _overlap(mask, found_masks[part.id])
        checks += [
            Check(f"{part.name}: mean vertex error", error, tolerance_mm, "mm"),
            Check(f"{part.name}: mask and truth", overlap, LEAST_DICE, "Dice", at_most=False),
            Check(f"{part.name}: mask and mesh", agreement, LEAST_AGREEMENT, "Dice", at_most=False),
        ]
    return checks


def check_reference(results: Results, truth: Path, digest: str, seed: int) -> list[Check]:
    """Compare vertex errors with those the same model has on the same phantom; nothing where none were measured.

    Args:
        results: what came back.
        truth: folder of the true surfaces.
        digest: of the model that computed.
        seed: of the phantom.
    """
    reference = REFERENCE_MM.get((digest, seed), {})
    found, true = read_surfaces(results.folder / "meshes"), read_surfaces(truth)
    off = [
        abs(float(vertex_errors_mm(found[name], true[name]).mean()) - measured) for name, measured in reference.items()
    ]
    return [Check("difference from this model's reference", max(off), REFERENCE_TOLERANCE_MM, "mm")] if off else []


def check_grid(results: Results) -> Check:
    """Measure how far corners of masks lie from those of the image, mm; infinite for another number of voxels."""
    image = read_image(results.image)
    corners = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)])
    corners[:, :3] *= image.shape
    worst = 0.0
    for name in (*(part.id for part in STRUCTURES), "labels"):
        mask = read_image(results.folder / "masks" / f"{name}.nii.gz")
        if mask.shape != image.shape:
            worst = float("inf")
            continue
        shift = (corners @ (mask.affine - image.affine).T)[:, :3]
        worst = max(worst, float(np.linalg.norm(shift, axis=1).max()))
    return Check("masks lie on the grid of the image", worst, LARGEST_SHIFT_MM, "mm")


def check_order(first: Results, second: Results) -> list[Check]:
    """Compare the results of one image that was stored in two axis orders.

    Returns:
        The largest distance of corresponding vertices, and the least overlap of the masks in the patient's space.
    """
    one, other = read_surfaces(first.folder / "meshes"), read_surfaces(second.folder / "meshes")
    farthest = max(float(vertex_errors_mm(other[part.id], one[part.id]).max()) for part in STRUCTURES)
    # The second mask is compared with the first results' meshes on the second grid: the space of the patient decides.
    on_second = _voxelized(one, read_image(second.image))
    overlap = min(_overlap(_mask(second.folder, part.id), on_second[part.id]) for part in STRUCTURES)
    return [
        Check("meshes in another axis order", farthest, LARGEST_ORDER_MM, "mm"),
        Check("masks in another axis order", overlap, LEAST_ORDER_DICE, "Dice", at_most=False),
    ]


def _voxelized(meshes: Mapping[str, SurfaceMesh], image: Volume) -> dict[str, BoolArray]:
    """Give the masks of surfaces on the grid of an image."""
    return voxelize_structures(meshes, image.affine, image.shape)


def _mask(folder: Path, structure: str) -> BoolArray:
    """Read a mask of the results."""
    return np.asarray(read_image(folder / "masks" / f"{structure}.nii.gz").data > 0.5)


def _overlap(first: BoolArray, second: BoolArray) -> float:
    """Give the Dice coefficient; 0 for masks of different shapes."""
    return dice(first, second) if first.shape == second.shape else 0.0
