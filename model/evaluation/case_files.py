"""Finding and reading the masks, surfaces and grids of one case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from model.errors import ImageError
from model.evaluation.files import read_mask
from model.evaluation.truth import BoolArray
from model.meshes.convert import to_space
from model.meshes.formats import read_mesh
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.structures import STRUCTURE_IDS

MESH_SUFFIXES: tuple[str, ...] = ("vtk", "vtp", "ply", "glb", "obj", "stl")
"""Mesh files that say where they lie; the first of them that is there is read. STL loses vertex correspondence."""

_GRID_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Grid:
    """The grid of an image.

    Attributes:
        shape: voxels along i, j, k.
        affine: (4, 4) voxel indices -> RAS mm.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def matches(self, other: Grid) -> bool:
        """Whether both hold the same voxels, within a micrometre."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=_GRID_TOLERANCE_MM)


def read_grid(path: Path) -> Grid:
    """Read the grid of a NIfTI image from its header.

    Raises:
        ImageError: not a 3-D NIfTI image.
    """
    try:
        image = cast("Any", nibabel.load(path))
    except (OSError, ImageFileError, EOFError, ValueError) as error:
        raise ImageError("the image cannot be read", expected="a 3-D NIfTI file", found=path.name) from error
    if len(image.shape) != 3:
        raise ImageError("the image cannot be used", expected="3 dimensions", found=f"{len(image.shape)}")
    i, j, k = image.shape
    return Grid((int(i), int(j), int(k)), np.asarray(image.affine, dtype=np.float64))


def mesh_files(folder: Path) -> dict[str, Path]:
    """Give the mesh files of a folder by structure id; empty when the folder is not there."""
    candidates = {name: [folder / f"{name}.{suffix}" for suffix in MESH_SUFFIXES] for name in STRUCTURE_IDS}
    found = {name: [path for path in paths if path.is_file()] for name, paths in candidates.items()}
    return {name: paths[0] for name, paths in found.items() if paths}


def read_meshes_ras(folder: Path) -> dict[str, SurfaceMesh]:
    """Read the surfaces of a folder by structure id, in RAS mm.

    Raises:
        MeshError: a file cannot be read.
    """
    return {name: to_space(read_mesh(path), "ras") for name, path in mesh_files(folder).items()}


def mask_files(folder: Path) -> dict[str, Path]:
    """Give the mask files `<structure>.nii.gz` of a folder by structure id; empty when the folder is not there."""
    paths = {name: folder / f"{name}.nii.gz" for name in STRUCTURE_IDS}
    return {name: path for name, path in paths.items() if path.is_file()}


def read_binary(path: Path) -> BoolArray:
    """Read a mask: zero outside, one other value inside.

    Raises:
        ImageError: not a 3-D NIfTI image, or more than two values.
    """
    data, _ = read_mask(path)
    inside = np.asarray(data != 0)
    values = data[inside]
    if len(values) and not (values == values[0]).all():
        raise ImageError(
            "the mask holds more than inside and outside",
            expected="the value 0 and one other",
            found=f"{len(np.unique(data))} values",
            hint="threshold it, or give one mask per structure",
        )
    return inside
