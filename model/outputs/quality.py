"""Automatic checks of a result: can it be trusted as it is, should someone look, or has it failed?

Thresholds are deliberately plain. `pass` says that nothing conspicuous was found, not that the result is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.meshes.mesh import FloatArray, SurfaceMesh
from model.outputs.jacobian import folded_fraction
from model.outputs.report import Quality, QualityCheck, Verdict, worst
from model.outputs.segmentation import Segmentation
from model.request import HIGH_RESIDUAL_MM
from model.structures import STRUCTURES

RESIDUAL_FAIL_MM = 1.2
_FOLD_MARGIN_VOXELS = 4


@dataclass(frozen=True)
class VolumeRange:
    """Volumes of a structure in mm3: between `low` and `high` is usual, beyond `least` and `most` implausible."""

    low: float
    high: float
    least: float
    most: float


REFERENCE_VOLUMES_MM3: Mapping[str, VolumeRange] = {
    # Expert labels of 23 specimens: 144 to 267 (Wimmer 2019, doi 10.1016/j.dib.2019.104782).
    "labyrinth": VolumeRange(140.0, 290.0, 90.0, 420.0),
    # 34.2 +- 7, 23 to 50, in 30 micro-CT ears (Dhanasingh 2021, PMC8514755).
    "scala_tympani": VolumeRange(20.0, 52.0, 10.0, 80.0),
    # As tall as the scala tympani or taller, slightly narrower; no direct series at hand, hence wide.
    "scala_vestibuli": VolumeRange(14.0, 60.0, 7.0, 100.0),
    # A cone of base 4 mm and height 3 mm holds 12.6; how much of the nerve canal counts differs, hence wide.
    "modiolus": VolumeRange(4.0, 30.0, 1.5, 60.0),
}


def check_quality(segmentation: Segmentation) -> Quality:
    """Run all checks on a result."""
    canonical = segmentation.meshes_canonical_ijk()
    checks = [*_check_volumes(segmentation), *_check_residual(segmentation)]
    if canonical:  # the rest is about the structures that were found
        grid = segmentation.frame.grid
        checks = [
            *_check_folds(segmentation.ddf_ijk, canonical),
            _check_inside("vertices_outside_crop", canonical, grid, "the canonical crop", 0.0, 0.01),
            _check_field_of_view(segmentation),
            *checks,
        ]
    return Quality(verdict=worst([check.verdict for check in checks]), checks=checks)


def _grade(value: float, passes: float, reviews: float) -> Verdict:
    """Grade a value that is better when smaller."""
    return "pass" if value <= passes else "review" if value <= reviews else "fail"


def _check_folds(ddf_ijk: npt.NDArray[np.float32] | None, canonical: Mapping[str, SurfaceMesh]) -> list[QualityCheck]:
    """Check that the field, if there is one, does not fold space over around the structures."""
    if ddf_ijk is None:
        return []
    vertices = np.concatenate([mesh.vertices for mesh in canonical.values()])
    size = np.array(ddf_ijk.shape[1:])
    low = np.clip(np.floor(vertices.min(axis=0)).astype(int) - _FOLD_MARGIN_VOXELS, 0, size - 2)
    high = np.clip(np.ceil(vertices.max(axis=0)).astype(int) + _FOLD_MARGIN_VOXELS + 1, low + 2, size)
    field = ddf_ijk[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    value = folded_fraction(field)
    return [
        QualityCheck(
            name="folded_fraction",
            verdict=_grade(value, 0.0005, 0.01),
            value=round(value, 6),
            limit="at most 0.0005",
            reason=f"the field folds in {value:.3%} of the cells around the structures",
        )
    ]


def _outside_fraction(vertices: FloatArray, shape: tuple[int, int, int]) -> float:
    """Give the part of points (voxel indices) that lie outside the voxels of a grid."""
    return float(np.mean(np.any((vertices < -0.5) | (vertices > np.array(shape) - 0.5), axis=1)))


def _check_inside(
    name: str,
    meshes_ijk: Mapping[str, SurfaceMesh],
    shape: tuple[int, int, int],
    place: str,
    passes: float,
    reviews: float,
) -> QualityCheck:
    """Check that the structures lie within a grid; the worst structure counts."""
    outside = {key: _outside_fraction(mesh.vertices, shape) for key, mesh in meshes_ijk.items()}
    worst_id = max(outside, key=lambda key: outside[key])
    value = outside[worst_id]
    found = "all vertices lie" if value == 0 else f"{value:.1%} of the vertices of {worst_id} do not lie"
    return QualityCheck(
        name=name,
        verdict=_grade(value, passes, reviews),
        value=round(value, 4),
        limit=f"at most {passes:g}",
        reason=f"{found} within {place}",
    )


def _check_field_of_view(segmentation: Segmentation) -> QualityCheck:
    """Check that the structures lie within the image."""
    volume = segmentation.volume
    ras_to_ijk = np.linalg.inv(volume.affine)
    meshes = {name: mesh.transformed(ras_to_ijk, "ijk") for name, mesh in segmentation.meshes_ras.items()}
    return _check_inside("vertices_outside_image", meshes, volume.shape, "the image's field of view", 0.01, 0.2)


def _check_volumes(segmentation: Segmentation) -> list[QualityCheck]:
    """Check the volume of every structure against what is known of human ears; one that was not found has none."""
    checks = []
    for structure in STRUCTURES:
        if structure.id in segmentation.structure_ids:
            mesh, usual = segmentation.meshes_ras.get(structure.id), REFERENCE_VOLUMES_MM3[structure.id]
            value = 0.0 if mesh is None else mesh.signed_volume
            verdict: Verdict = "pass" if usual.low <= value <= usual.high else "review"
            if not usual.least <= value <= usual.most:
                verdict = "fail"
            limit = f"{usual.low:g} to {usual.high:g} mm3"
            measured = f"the volume of {structure.id} is {value:.1f} mm3; usual is {limit}"
            checks.append(
                QualityCheck(
                    name=f"volume_{structure.id}",
                    verdict=verdict,
                    value=round(value, 3),
                    limit=limit,
                    reason=f"{structure.id} was not found" if mesh is None else measured,
                )
            )
    return checks


def _check_residual(segmentation: Segmentation) -> list[QualityCheck]:
    """Check how well the landmarks fit the frame, when there were landmarks."""
    residual = segmentation.alignment.residual_mm
    if residual is None:
        return []
    return [
        QualityCheck(
            name="landmark_residual",
            verdict=_grade(residual, HIGH_RESIDUAL_MM, RESIDUAL_FAIL_MM),
            value=round(residual, 4),
            limit=f"at most {HIGH_RESIDUAL_MM:g} mm",
            reason=f"the landmarks miss those of an average ear by {residual:.2f} mm (root mean square)",
        )
    ]
