"""Everything that goes into the published figures: files, options, undeformed atlas, vertices that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from model.errors import MeshError
from model.evaluation.about import about
from model.evaluation.case_files import read_binary
from model.evaluation.distances import point_to_point_mm
from model.evaluation.truth import BoolArray
from model.meshes.formats import read_mesh
from model.meshes.mesh import FloatArray, SurfaceMesh
from model.release.figures.layout import NO_DEFORMATION, PublishedFolders
from model.release.figures.options import FigureOptions
from model.structures import structure_by_id

DICE, POINTS = "dice", "point_to_point_median_mm"
"""Ids of the two published measures."""


@dataclass(frozen=True)
class Measuring:
    """Everything that goes into the scores.

    Attributes:
        found: the files.
        options: how to measure.
        atlas: the undeformed atlas in crop voxels by structure id; empty for none.
        active: bool per vertex, by structure id: the vertices that count; all where it is missing.
    """

    found: PublishedFolders
    options: FigureOptions = field(default_factory=FigureOptions)
    atlas: Mapping[str, SurfaceMesh] = field(default_factory=dict)
    active: Mapping[str, BoolArray] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """All that is scored, the undeformed atlas last."""
        return (*self.found.methods, NO_DEFORMATION) if self.atlas else self.found.methods

    def mesh(self, method: str, structure: str, case: str) -> SurfaceMesh | None:
        """Read a surface in crop voxels, or give None when there is none.

        Raises:
            MeshError: the file cannot be read; says which.
        """
        if method == NO_DEFORMATION:
            return self.atlas.get(structure)
        path = self.found.mesh(method, structure, case)
        if path is None:
            return None
        with about(named("mesh", method, structure, case)):
            mesh = read_mesh(path)
            if not np.isfinite(mesh.vertices).all():
                raise MeshError("the surface cannot be used", expected="finite vertices", found="NaN or infinity")
        return mesh

    def mask(self, method: str, structure: str, case: str) -> BoolArray | None:
        """Read a mask, or give None when there is none.

        Raises:
            ImageError: the file cannot be read; says which.
        """
        path = self.found.mask(method, structure, case)
        if path is None:
            return None
        with about(named("mask", method, structure, case)):
            return read_binary(path)

    def vertex_errors_mm(
        self, mesh: SurfaceMesh, truth: SurfaceMesh, structure: str, axes_mm: FloatArray
    ) -> FloatArray:
        """Give the point-to-point error of every vertex that counts, in mm; both surfaces have as many vertices."""
        errors = point_to_point_mm(mesh.vertices @ axes_mm.T, truth.vertices @ axes_mm.T)
        return errors[self.active[structure]] if structure in self.active else errors


def vertex_errors_mm(mesh: SurfaceMesh, truth: SurfaceMesh, axes_mm: FloatArray) -> FloatArray:
    """Give the point-to-point error of every vertex in mm.

    Args:
        mesh: surface in crop voxels.
        truth: the true one, with as many vertices.
        axes_mm: (3, 3) matrix from differences in voxels to differences in mm.
    """
    return point_to_point_mm(mesh.vertices @ axes_mm.T, truth.vertices @ axes_mm.T)


def same_vertices(mesh: SurfaceMesh, truth: SurfaceMesh) -> bool:
    """Whether vertex i of both is taken for the same point: there are as many."""
    return len(mesh.vertices) == len(truth.vertices)


def named(what: str, method: str, structure: str, case: str) -> str:
    """Name a file by what it holds."""
    return f"{what} of {method}, {structure_by_id(structure).code}, {case}"
