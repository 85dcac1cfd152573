"""The published results of a folder: measured, summarised, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError, OptionError
from model.evaluation.comparisons import Comparison, compare_methods
from model.evaluation.curves import Curve, error_curves
from model.evaluation.folders import Progress
from model.evaluation.rows import Row, measure_by_id
from model.evaluation.statistics import Summary, summarise
from model.evaluation.truth import BoolArray
from model.release.figures.checks import check_files
from model.release.figures.frequency_map import PUBLISHED_FILE, read_active
from model.release.figures.gaps import Gap, gap_lines
from model.release.figures.layout import NO_DEFORMATION, TRUTH, PublishedFolders, find_published
from model.release.figures.measuring import DICE, POINTS, Measuring
from model.release.figures.options import FigureOptions
from model.release.figures.panel_case import check_panel_cases, panel_cases
from model.release.figures.remarks import remarks_on
from model.release.figures.scores import Scores, score_published
from model.release.figures.undeformed import read_undeformed
from model.structures import MODIOLUS

REFERENCE = "chamfer"
"""The method that the published tests compare with all others."""


@dataclass(frozen=True)
class Figures:
    """Everything that a folder says.

    Attributes:
        measuring: what was measured.
        reference: the method that all others are tested against; None when all pairs are.
        rows: one per method, case and structure; the undeformed atlas counts as a method.
        summaries: medians, quartiles, means and intervals.
        comparisons: paired tests on Dice and median point-to-point error; the undeformed atlas takes no part.
        curves: error curves, of vertices and of cases.
        gaps: what could not be measured.
        remarks: what the reader should know, gaps included.
        spacings_mm: voxel sizes along i, j, k that were met.
        active_vertices: how many vertices of the modiolus count; None for all.
        shown: cases of the mesh panels.
    """

    measuring: Measuring
    reference: str | None
    rows: tuple[Row, ...]
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[Curve, ...]
    gaps: tuple[Gap, ...]
    remarks: tuple[str, ...]
    spacings_mm: tuple[tuple[float, float, float], ...]
    active_vertices: int | None
    shown: tuple[str, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods in the order of tables, the undeformed atlas last."""
        return self.measuring.methods


def work_out_figures(
    data: Path,
    *,
    atlas: str | Path | None = None,
    frequency_map: Path | None = None,
    methods: Sequence[str] | None = None,
    cases: Sequence[str] | None = None,
    reference: str | None = None,
    shown: Sequence[str] | None = None,
    options: FigureOptions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Figures:
    """Work out the published results.

    Args:
        data: folder in the published layout, see `layout`.
        atlas: the undeformed atlas, see `read_undeformed`; None takes `data/atlas` where it is.
        frequency_map: which vertices of the modiolus count, see `read_active`; None takes `sgfreqmapping.bin` in `data`
            where it is, and otherwise all.
        methods: which methods, in this order; None takes all.
        cases: which cases; None takes all.
        reference: test all others against this method; None takes `chamfer` where it is, and otherwise tests all pairs.
        shown: cases of the mesh panels; None takes one, see `panel_cases`.
        options: how to measure.
        seed: of the bootstrap intervals.
        progress: told what is being done.

    Raises:
        InputError: something is not there or cannot be used; says what.
    """
    found = find_published(data, methods=methods, cases=cases)
    check_panel_cases(shown, found.cases)
    chosen_reference = _reference(found, reference)
    atlas_source = atlas if atlas is not None else data / "atlas"
    with_atlas = atlas is not None or any((data / "atlas").glob("atlas_*.mesh"))
    measuring = Measuring(
        found,
        options or FigureOptions(),
        read_undeformed(atlas_source) if with_atlas else {},
        _active(found, data, frequency_map),
    )
    if not measuring.methods:
        raise InputError("there is nothing to compare with the truth", expected="a method other than gt, or an atlas")
    check_files(found, measuring.options, progress)
    scores = score_published(measuring, progress)
    _require_something(scores)
    tested = [row for row in scores.rows if row.method != NO_DEFORMATION]
    active = measuring.active.get(MODIOLUS.id)
    return Figures(
        measuring=measuring,
        reference=chosen_reference,
        rows=tuple(scores.rows),
        summaries=tuple(summarise(scores.rows, seed)),
        comparisons=tuple(compare_methods(tested, chosen_reference, [measure_by_id(DICE), measure_by_id(POINTS)])),
        curves=tuple(error_curves(scores.rows, [POINTS])),
        gaps=tuple(scores.gaps),
        remarks=tuple(remarks_on(measuring, scores)),
        spacings_mm=tuple(sorted(scores.spacings_mm)),
        active_vertices=None if active is None else int(active.sum()),
        shown=panel_cases(scores.rows, chosen_reference or measuring.methods[0], shown),
    )


def _reference(found: PublishedFolders, wanted: str | None) -> str | None:
    """Give the method that others are tested against."""
    if wanted is None:
        return REFERENCE if REFERENCE in found.methods else None
    if wanted not in found.methods:
        raise OptionError(
            "there is no such method to compare with", expected=f"one of {', '.join(found.methods)}", found=wanted
        )
    return wanted


def _active(found: PublishedFolders, data: Path, frequency_map: Path | None) -> dict[str, BoolArray]:
    """Read which vertices of the modiolus count; empty when all do."""
    path = frequency_map if frequency_map is not None else data / PUBLISHED_FILE
    if frequency_map is None and not path.is_file():
        return {}
    source = Measuring(found)
    for case in found.cases:
        truth = source.mesh(TRUTH, MODIOLUS.id, case)
        if truth is not None:
            return {MODIOLUS.id: read_active(path, len(truth.vertices))}
    if frequency_map is None:
        return {}
    raise InputError(
        "the frequency map cannot be used", expected=f"meshes of the modiolus in mesh/{TRUTH}/{MODIOLUS.code}"
    )


def _require_something(scores: Scores) -> None:
    """Refuse folders in which nothing can be measured."""
    if all(row.empty for row in scores.rows):
        lines = gap_lines(scores.gaps)
        raise InputError("nothing can be measured", found="; ".join(lines[:2]) or "no truth for the chosen cases")
