"""What the reader of the published results of a folder should know."""

from __future__ import annotations

from model.evaluation.statistics import MIN_CASES
from model.release.figures.gaps import gap_lines
from model.release.figures.layout import NO_DEFORMATION
from model.release.figures.measuring import Measuring
from model.release.figures.options import SPACING_MM
from model.release.figures.scores import Scores


def remarks_on(measuring: Measuring, scores: Scores) -> list[str]:
    """Give one line for everything that is missing, odd or made up for."""
    remarks = list(measuring.found.remarks)
    cases = len({row.case for row in scores.rows})
    if cases < MIN_CASES:
        count = "one case only" if cases == 1 else f"{cases} cases only"
        remarks.append(f"{count}: no intervals and no tests, which take at least {MIN_CASES}")
    remarks += gap_lines(scores.gaps)
    remarks += [f"{method}: {count} masks made of meshes" for method, count in scores.voxelized.items()]
    if scores.other_triangles:
        names = ", ".join(scores.other_triangles)
        remarks.append(f"{names}: as many vertices as the truth, other triangles; measured vertex by vertex")
    if measuring.options.spacing_mm is None:
        remarks += _odd_spacings(scores)
    return remarks + [
        f"{row.method}, {row.case}, {row.structure}: the mask has nothing in common with the truth"
        for row in scores.rows
        if row.dice == 0 and row.method != NO_DEFORMATION
    ]


def _odd_spacings(scores: Scores) -> list[str]:
    """Name voxel sizes that are not the published one."""
    odd = [spacing for spacing in sorted(scores.spacings_mm) if any(abs(size - SPACING_MM) > 1e-3 for size in spacing)]
    if not odd:
        return []
    sizes = "; ".join(" x ".join(f"{size:g}" for size in spacing) for spacing in odd[:3])
    return [f"voxels of {sizes} mm by the affines of the masks, where the published ones have {SPACING_MM:g}"]
