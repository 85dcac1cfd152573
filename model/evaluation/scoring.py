"""Scoring one result against the truth of its case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.evaluation.curves import shares_below
from model.evaluation.distances import SurfaceDistance, point_to_point_mm, surface_errors_mm
from model.evaluation.folds import DisplacementField
from model.evaluation.mask_surface import mask_surface
from model.evaluation.overlap import dice
from model.evaluation.rows import Row
from model.evaluation.truth import BoolArray, CaseTruth
from model.meshes.mesh import FloatArray, SurfaceMesh


def score_case(
    meshes_ras: Mapping[str, SurfaceMesh],
    truth: CaseTruth,
    *,
    method: str,
    case: str,
    group: str = "all",
    masks: Mapping[str, BoolArray] | None = None,
    field: DisplacementField | None = None,
) -> list[Row]:
    """Score what a method found in a case.

    Dice is counted on the truth's grid, from the method's own mask where there is one, otherwise from its surface
    voxelized. Surface distances are those between the surfaces; where there is only a mask, between its
    marching-cubes surface (see `mask_surface`, which says how inexact that is). Point-to-point errors need a true
    surface and a result with the same triangles, whatever their winding.

    Args:
        meshes_ras: surfaces in RAS mm by structure id; may be empty for a method that gives masks only.
        truth: what the case really is.
        method: name of the method.
        case: name of the case.
        group: set of cases it counts in.
        masks: masks on the truth's grid by structure id.
        field: the displacement field that made the surfaces, for folds.

    Returns:
        One row per structure of the truth; all measures of a structure that the method lacks are None.

    Raises:
        MeshError: when a surface has to be voxelized and is not closed.
        ValueError: when spaces or shapes do not fit.
    """
    own_masks = {} if masks is None else masks
    for name, mesh in meshes_ras.items():
        if mesh.space != "ras" or not np.isfinite(mesh.vertices).all():
            raise ValueError(f"surface of {name}: expected finite vertices in ras, found {mesh.space}")
    for name, mask in own_masks.items():
        if mask.shape != truth.shape:
            raise ValueError(f"mask of {name}: expected the truth's shape {truth.shape}, found {mask.shape}")
    rows = []
    for structure in truth.structures:
        own_mesh, own_mask = meshes_ras.get(structure), own_masks.get(structure)
        surface = _surface(own_mesh, own_mask, truth)
        scores: dict[str, Any] = {"dice": _dice(structure, own_mesh, own_mask, truth)}
        scores |= _surface_scores(surface, truth.surface(structure))
        scores |= _point_scores(structure, own_mesh, truth)
        folds = None if field is None or surface is None else field.folds_around(surface.vertices)
        if folds is not None:
            scores |= {"folds": folds.share, "jacobian_minimum": folds.minimum}
        rows.append(Row(method, group, case, structure, **scores))
    return rows


def corresponding(first: SurfaceMesh, second: SurfaceMesh) -> bool:
    """Whether vertex i is the same point in both: the same triangles, in any winding."""
    return (
        first.vertices.shape == second.vertices.shape
        and first.triangles.shape == second.triangles.shape
        and np.array_equal(np.sort(first.triangles, axis=1), np.sort(second.triangles, axis=1))
    )


def _surface(mesh: SurfaceMesh | None, mask: BoolArray | None, truth: CaseTruth) -> SurfaceMesh | None:
    """Give the surface of a result, from its mask when it has no other; None when there is none."""
    if mesh is not None or mask is None or truth.affine is None:
        return mesh
    return mask_surface(mask, truth.affine)


def _dice(structure: str, mesh: SurfaceMesh | None, mask: BoolArray | None, truth: CaseTruth) -> float | None:
    """Count Dice on the truth's grid, or give None where mask and surface, or the grid, are missing."""
    true_mask = truth.mask(structure)
    if mask is None and mesh is not None and true_mask is not None:
        mask = (truth.voxelized({structure: mesh}) or {}).get(structure)
    return None if mask is None or true_mask is None else dice(mask, true_mask)


def _surface_scores(surface: SurfaceMesh | None, true_surface: SurfaceMesh | None) -> dict[str, Any]:
    """Measure between surfaces; nothing when one of them is missing or empty."""
    if surface is None or true_surface is None or not len(surface.triangles) or not len(true_surface.triangles):
        return {}
    forward, backward = surface_errors_mm(surface, true_surface)
    distance = SurfaceDistance.of(forward, backward)
    below = np.mean([shares_below(forward), shares_below(backward)], axis=0)
    return {
        "surface_mean_mm": distance.mean_mm,
        "hausdorff95_mm": distance.hausdorff95_mm,
        "surface_below": tuple(float(share) for share in below),
    }


def _point_scores(structure: str, mesh: SurfaceMesh | None, truth: CaseTruth) -> dict[str, Any]:
    """Measure from vertex to vertex; nothing where they do not correspond or none counts."""
    true_mesh = truth.meshes_ras.get(structure)
    if mesh is None or true_mesh is None or not corresponding(mesh, true_mesh):
        return {}
    errors: FloatArray = point_to_point_mm(mesh.vertices, true_mesh.vertices)
    if structure in truth.active:
        errors = errors[truth.active[structure]]
    if not len(errors):
        return {}
    return {
        "point_to_point_mm": float(errors.mean()),
        "point_to_point_median_mm": float(np.median(errors)),
        "points_below": shares_below(errors),
    }
