"""Small studies with known scores, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from segmentations import oblique_volume, save_nifti
from surfaces import sphere

from model.evaluation.rows import Row
from model.masks.voxelize import voxelize_structures
from model.meshes.formats import write_mesh
from model.meshes.mesh import SurfaceMesh

CENTRE_RAS = np.array([40.0, -25.0, 12.0])
"""The middle of the image of every case."""


def ellipsoid(radii_mm: npt.ArrayLike = (4.0, 2.5, 1.5), shift_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> SurfaceMesh:
    """An ellipsoid in RAS mm at the middle of the image, with no symmetry between its axes."""
    unit = sphere(1.0, level=4, space="ras")
    return unit.with_vertices(unit.vertices * np.asarray(radii_mm) + CENTRE_RAS + np.asarray(shift_mm))


def rows_of(method: str, values: Mapping[str, float | None], *, group: str = "all") -> list[Row]:
    """Rows of the labyrinth with a Dice each, by case."""
    return [Row(method, group, case, "labyrinth", dice=value) for case, value in values.items()]


def write_truth(folder: Path, *, meshes: bool = True, implant: bool | None = None) -> None:
    """Write what is true of a case: an image, the mask of the labyrinth and, if asked for, its surface."""
    volume = oblique_volume()
    folder.mkdir(parents=True)
    save_nifti(folder / "ct.nii.gz", volume.data, volume.affine)
    mask = voxelize_structures({"labyrinth": ellipsoid()}, volume.affine, volume.shape)["labyrinth"]
    save_nifti(folder / "labyrinth.nii.gz", mask.astype(np.uint8), volume.affine)
    if meshes:
        (folder / "truth").mkdir()
        write_mesh(ellipsoid(), folder / "truth" / "labyrinth.vtk")
    if implant is not None:
        (folder / "ear.json").write_text(json.dumps({"implant": {"array": "one"} if implant else None}))


def write_result(folder: Path, shift_mm: npt.ArrayLike = (0.0, 0.0, 0.0), *, mesh: bool = True) -> None:
    """Write a result whose labyrinth is off by a shift: its mask and, if asked for, its surface."""
    volume = oblique_volume()
    surface = ellipsoid(shift_mm=shift_mm)
    (folder / "masks").mkdir(parents=True)
    mask = voxelize_structures({"labyrinth": surface}, volume.affine, volume.shape)["labyrinth"]
    save_nifti(folder / "masks" / "labyrinth.nii.gz", mask.astype(np.uint8), volume.affine)
    if mesh:
        (folder / "meshes").mkdir()
        write_mesh(surface, folder / "meshes" / "labyrinth.vtk")
