"""Grids of the masks, and how long a voxel is in millimetres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.errors import ImageError
from model.evaluation.case_files import Grid, read_grid
from model.meshes.mesh import FloatArray
from model.release.figures.layout import TRUTH, PublishedFolders
from model.release.figures.options import SPACING_MM, FigureOptions
from model.structures import STRUCTURE_IDS


def case_grid(found: PublishedFolders, case: str, structure: str) -> Grid | None:
    """Give the grid of the masks of a structure: the truth's, or else that of any mask of the case.

    Raises:
        ImageError: the mask cannot be read.
    """
    others = [name for name in STRUCTURE_IDS if name != structure]
    for method in (TRUTH, *found.methods):
        for name in (structure, *others):
            path = found.mask(method, name, case)
            if path is not None:
                return read_grid(path)
    return None


def voxel_axes_mm(grid: Grid | None, options: FigureOptions) -> FloatArray:
    """Give the (3, 3) matrix from differences in voxels to differences in mm, RAS where the grid says it.

    Raises:
        ImageError: the affine has no volume.
    """
    if options.spacing_mm is not None:
        return np.eye(3) * options.spacing_mm
    if grid is None or options.ignore_affines:
        return np.eye(3) * SPACING_MM
    axes = np.asarray(grid.affine[:3, :3])
    if not np.isfinite(axes).all() or abs(np.linalg.det(axes)) < 1e-12:
        raise ImageError("the affine of the mask says no voxel size", expected="three directions", found="a flat one")
    return axes


def spacing_of(axes_mm: FloatArray) -> tuple[float, float, float]:
    """Give the voxel size along i, j, k in mm, to a tenth of a micrometre."""
    i, j, k = np.round(np.linalg.norm(axes_mm, axis=0), 4).tolist()
    return i, j, k


def same_grid(mask: Grid, truth: Grid, options: FigureOptions) -> bool:
    """Whether a mask can be compared with that of the truth."""
    return mask.shape == truth.shape if options.ignore_affines else mask.matches(truth)


def grid_text(grid: Grid, other: Grid) -> str:
    """Say what a grid has that another has not, for messages."""
    shape = " x ".join(map(str, grid.shape))
    return shape if grid.shape != other.shape else f"{shape} with affine {_rows(grid.affine.tolist())}"


def _rows(affine: Sequence[Sequence[float]]) -> str:
    """Give the first three rows of an affine in one line."""
    return " / ".join(" ".join(f"{value:g}" for value in row) for row in affine[:3])
