"""Checking all files by their headers before anything is measured, so that bad ones are named together and at once."""

from __future__ import annotations

from pathlib import Path

from model.errors import InputError
from model.evaluation.case_files import read_grid
from model.evaluation.folders import Progress
from model.meshes.formats import read_mesh
from model.release.figures.grids import grid_text, same_grid
from model.release.figures.layout import TRUTH, PublishedFolders
from model.release.figures.options import FigureOptions
from model.structures import STRUCTURES, structure_by_id

_SHOWN = 3


def check_files(found: PublishedFolders, options: FigureOptions, progress: Progress | None = None) -> None:
    """Check that every mesh can be read and every mask lies on the grid of the truth.

    Raises:
        InputError: names the first files that cannot be used, and how many more there are.
    """
    unreadable: list[str] = []
    odd: list[str] = []
    for done, case in enumerate(found.cases):
        if progress is not None:
            progress(f"checking {case}", done / len(found.cases))
        for structure in STRUCTURES:
            for method in (TRUTH, *found.methods):
                path = found.mesh(method, structure.id, case)
                unreadable += _mesh_problem(path, f"mesh of {method}, {structure.code}, {case}")
            _check_masks(found, case, structure.id, options, unreadable, odd)
    if unreadable:
        raise InputError("files cannot be used", found=_some(unreadable), hint="mend or remove them")
    if odd:
        raise InputError(
            "masks lie on another grid than the truth",
            found=_some(odd),
            hint="resample them, or compare by voxel index with --ignore-affines when only the affines differ",
        )


def _mesh_problem(path: Path | None, name: str) -> list[str]:
    """Say what is wrong with a mesh file, if anything."""
    if path is not None:
        try:
            read_mesh(path)
        except InputError as error:
            return [f"{name}: {error}"]
    return []


def _check_masks(
    found: PublishedFolders, case: str, structure: str, options: FigureOptions, unreadable: list[str], odd: list[str]
) -> None:
    """Compare the grids of the masks of one case and structure with that of the truth."""
    truth = None
    for method in (TRUTH, *found.methods):
        path = found.mask(method, structure, case)
        if path is None:
            continue
        name = f"mask of {method}, {structure_by_id(structure).code}, {case}"
        try:
            grid = read_grid(path)
        except InputError as error:
            unreadable.append(f"{name}: {error}")
            continue
        if method == TRUTH:
            truth = grid
        elif truth is not None and not same_grid(grid, truth, options):
            odd.append(f"{name}: {grid_text(grid, truth)} instead of {grid_text(truth, grid)}")


def _some(problems: list[str]) -> str:
    """Give the first problems, and how many more there are."""
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
