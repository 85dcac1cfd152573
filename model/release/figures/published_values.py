"""What the published study reports: medians over its 91 implanted ears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.evaluation.rows import measure_by_id
from model.evaluation.statistics import Summary
from model.release.figures.layout import KNOWN_METHODS
from model.release.figures.measuring import DICE, POINTS
from model.structures import STRUCTURES

PUBLISHED_CASES = 91

PUBLISHED_MEDIANS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("chamfer", DICE): {"modiolus": 0.85, "scala_tympani": 0.84, "scala_vestibuli": 0.82, "labyrinth": 0.90},
    ("chamfer", POINTS): {"modiolus": 0.19, "scala_tympani": 0.23, "scala_vestibuli": 0.24, "labyrinth": 0.26},
    ("nnunet", DICE): {"labyrinth": 0.92},
}
"""By method and measure, then structure."""


def published_table(summaries: Sequence[Summary]) -> str:
    """Put the published medians beside those found here, in Markdown; empty when no such method is there.

    Args:
        summaries: of a study.
    """
    found = {(item.method, item.measure, item.structure): item for item in summaries}
    lines = []
    for (method, measure), medians in PUBLISHED_MEDIANS.items():
        for structure in STRUCTURES:
            here = found.get((method, measure, structure.id))
            if here is not None and structure.id in medians:
                label, published = measure_by_id(measure).label, medians[structure.id]
                cells = (KNOWN_METHODS[method], label, structure.name, f"{published:.2f}", f"{here.median:.3f}")
                lines.append(f"| {' | '.join(cells)} | {here.cases} |")
    if not lines:
        return ""
    heading = (
        f"| method | median | structure | published, n={PUBLISHED_CASES} | here | n |\n|---|---|---|---:|---:|---:|"
    )
    return "\n".join([heading, *lines]) + "\n"
