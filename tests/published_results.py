"""A small study in the published layout whose scores are known, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from surfaces import sphere

from model.masks.voxelize import voxelize
from model.meshes.formats import write_mesh
from model.meshes.mesh import SurfaceMesh
from model.structures import STRUCTURES, Structure

SHAPE = (20, 18, 16)
AFFINE = np.diag([-0.2, -0.2, 0.2, 1.0])
CENTRE = np.array([9.0, 8.0, 7.0])
CASES: tuple[str, ...] = tuple(f"case{number}" for number in range(8))


def surface(structure: Structure, shift_ijk: npt.ArrayLike = (0.0, 0.0, 0.0), *, level: int = 1) -> SurfaceMesh:
    """A ball of a size of its own for each structure, wound inward as published surfaces are."""
    return sphere(3.0 + 0.5 * structure.label, CENTRE + np.asarray(shift_ijk, dtype=float), level=level).flipped()


def write_ball(
    data: Path,
    method: str,
    structure: Structure,
    case: str,
    shift_ijk: npt.ArrayLike = (0.0, 0.0, 0.0),
    *,
    level: int = 1,
    mask: bool = True,
) -> None:
    """Write the mesh and the mask of one structure."""
    mesh = surface(structure, shift_ijk, level=level)
    path = data / "mesh" / method / structure.code / f"{case}.mesh"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(mesh, path)
    if mask:
        write_mask(data, method, structure, case, voxelize(mesh, SHAPE))


def write_mask(
    data: Path,
    method: str,
    structure: Structure,
    case: str,
    mask: npt.NDArray[np.bool_],
    affine: npt.NDArray[np.float64] = AFFINE,
) -> None:
    """Write a mask."""
    path = data / "mask" / method / structure.code / f"{case}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), path)


def write_atlas(folder: Path, shift_ijk: npt.ArrayLike = (0.0, 0.0, 0.0)) -> None:
    """Write the surfaces of the undeformed atlas."""
    folder.mkdir(parents=True, exist_ok=True)
    for structure in STRUCTURES:
        write_mesh(surface(structure, shift_ijk), folder / f"atlas_{structure.code}.mesh")


def write_published(
    data: Path,
    shifts_ijk: Mapping[str, npt.NDArray[np.float64]],
    cases: Sequence[str],
    structures: Sequence[Structure] = STRUCTURES,
) -> None:
    """Write a study: the truth in the middle, every method off by a shift per case.

    Args:
        data: folder to write.
        shifts_ijk: (cases, 3) shifts in voxels by method.
        cases: names of the cases.
        structures: which structures.
    """
    for at, case in enumerate(cases):
        for structure in structures:
            write_ball(data, "gt", structure, case)
            for method, shifts in shifts_ijk.items():
                write_ball(data, method, structure, case, shifts[at])
