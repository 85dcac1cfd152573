"""Dice and point-to-point errors of all methods, structures and cases of a folder in the published layout.

Dice is counted over the voxels of the masks. The point-to-point error of a vertex is its distance in mm from the vertex
of the same number of the truth, that of a case the median over its vertices (of the modiolus: its active ones). Both as
in the published study. What cannot be measured is None and gets a `Gap`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.errors import InputError, MeshError
from model.evaluation.about import about
from model.evaluation.case_files import Grid
from model.evaluation.curves import shares_below
from model.evaluation.folders import ONE_GROUP, Progress
from model.evaluation.overlap import dice
from model.evaluation.rows import Row
from model.evaluation.truth import BoolArray
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh
from model.release.figures.gaps import Gap, Reason
from model.release.figures.grids import case_grid, spacing_of, voxel_axes_mm
from model.release.figures.layout import NO_DEFORMATION, TRUTH
from model.release.figures.measuring import DICE, POINTS, Measuring, named, same_vertices, vertex_errors_mm
from model.structures import STRUCTURES, structure_by_id


@dataclass
class Scores:
    """What came out.

    Attributes:
        rows: one per method, case and structure of the truth, ordered by case, structure and method.
        gaps: what could not be measured.
        voxelized: number of masks made from meshes, by method.
        spacings_mm: voxel sizes along i, j, k that were met.
        other_triangles: methods whose meshes have the truth's number of vertices and other triangles.
    """

    rows: list[Row] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    voxelized: Counter[str] = field(default_factory=Counter)
    spacings_mm: set[tuple[float, float, float]] = field(default_factory=set)
    other_triangles: dict[str, None] = field(default_factory=dict)


def score_published(measuring: Measuring, progress: Progress | None = None) -> Scores:
    """Measure everything.

    Raises:
        InputError: a file cannot be used; says which.
    """
    scores, found = Scores(), measuring.found
    atlas_masks: dict[tuple[str, tuple[int, int, int]], BoolArray | None] = {}
    for done, case in enumerate(found.cases):
        if progress is not None:
            progress(f"measuring {case}", done / len(found.cases))
        for structure in STRUCTURES:
            if found.mesh(TRUTH, structure.id, case) or found.mask(TRUTH, structure.id, case):
                _Place(measuring, structure.id, case, scores, atlas_masks).score()
    return scores


class _Place:
    """One structure of one case, with its truth."""

    def __init__(
        self,
        measuring: Measuring,
        structure: str,
        case: str,
        scores: Scores,
        atlas_masks: dict[tuple[str, tuple[int, int, int]], BoolArray | None],
    ) -> None:
        """Read the truth."""
        self._measuring, self._structure, self._case, self._scores = measuring, structure, case, scores
        self._atlas_masks = atlas_masks
        self._grid: Grid | None = case_grid(measuring.found, case, structure)
        with about(f"case {case}, {structure_by_id(structure).code}"):
            self._axes_mm = voxel_axes_mm(self._grid, measuring.options)
        scores.spacings_mm.add(spacing_of(self._axes_mm))
        self._mesh = measuring.mesh(TRUTH, structure, case)
        self._mask = self._settled_mask(TRUTH, self._mesh)
        active = measuring.active.get(structure)
        if self._mesh is not None and active is not None and len(active) != len(self._mesh.vertices):
            raise InputError(
                f"the frequency map does not fit {named('mesh', TRUTH, structure, case)}",
                expected=f"{len(self._mesh.vertices)} values, one per vertex",
                found=f"{len(active)}",
            )

    def score(self) -> None:
        """Measure every method."""
        if self._mesh is None:
            self._lack(TRUTH, POINTS, Reason.NO_MESH)
        for method in self._measuring.methods:
            mesh = self._measuring.mesh(method, self._structure, self._case)
            values = self._point_scores(method, mesh) | self._dice(method, mesh)
            self._scores.rows.append(Row(method, ONE_GROUP, self._case, self._structure, **values))

    def _point_scores(self, method: str, mesh: SurfaceMesh | None) -> dict[str, Any]:
        """Measure from vertex to vertex."""
        if self._mesh is None:
            return {}
        if mesh is None:
            self._lack(method, POINTS, Reason.NO_MESH)
            return {}
        if not same_vertices(mesh, self._mesh):
            counts = f"{len(mesh.vertices)} instead of {len(self._mesh.vertices)}"
            code = structure_by_id(self._structure).code
            self._lack(method, POINTS, Reason.OTHER_VERTICES, f"{counts} in {code} of {self._case}")
            return {}
        if not _same_triangles(mesh, self._mesh):
            self._scores.other_triangles[method] = None
        errors = vertex_errors_mm(mesh, self._mesh, self._axes_mm)
        if self._structure in self._measuring.active:
            errors = errors[self._measuring.active[self._structure]]
        return {
            "point_to_point_mm": float(errors.mean()),
            POINTS: float(np.median(errors)),
            "points_below": shares_below(errors),
        }

    def _dice(self, method: str, mesh: SurfaceMesh | None) -> dict[str, Any]:
        """Count the overlap of the masks."""
        if self._mask is None:
            return {}
        mask = self._settled_mask(method, mesh)
        if mask is None:
            return {}
        with about(named("mask", method, self._structure, self._case)):
            return {DICE: dice(mask, self._mask)}

    def _settled_mask(self, method: str, mesh: SurfaceMesh | None) -> BoolArray | None:
        """Give the mask of a method: its own, or that of its surface if this is wanted; None is noted as a gap."""
        own = self._measuring.mask(method, self._structure, self._case)
        if own is not None:
            return own
        if mesh is None:
            self._lack(method, DICE, Reason.NEITHER)
            return None
        if not self._measuring.options.voxelize:
            if method != NO_DEFORMATION:  # an atlas has no masks, so that it lacks none
                self._lack(method, DICE, Reason.NO_MASK)
            return None
        if self._grid is None:
            self._lack(method, DICE, Reason.NO_GRID)
            return None
        made = self._voxelized(method, mesh, self._grid.shape)
        if made is None:
            self._lack(method, DICE, Reason.OPEN)
        else:
            self._scores.voxelized[method] += 1
        return made

    def _voxelized(self, method: str, mesh: SurfaceMesh, shape: tuple[int, int, int]) -> BoolArray | None:
        """Give the mask of a surface, or None when it is not closed; that of the atlas is made once."""
        kept = (self._structure, shape)
        if method == NO_DEFORMATION and kept in self._atlas_masks:
            return self._atlas_masks[kept]
        try:
            made: BoolArray | None = voxelize(mesh, shape)
        except MeshError:
            made = None
        if method == NO_DEFORMATION:
            self._atlas_masks[kept] = made
        return made

    def _lack(self, method: str, measure: str, reason: Reason, detail: str = "") -> None:
        """Note that something could not be measured."""
        self._scores.gaps.append(Gap(method, self._structure, self._case, measure, reason, detail))


def _same_triangles(first: SurfaceMesh, second: SurfaceMesh) -> bool:
    """Whether two surfaces have the same triangles in any winding."""
    return first.triangles.shape == second.triangles.shape and np.array_equal(
        np.sort(first.triangles, axis=1), np.sort(second.triangles, axis=1)
    )
