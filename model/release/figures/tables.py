"""The published results as CSV tables and as a report in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.evaluation.comparisons import Comparison
from model.evaluation.csv_text import csv_text
from model.evaluation.curves import STEPS_MM, Curve, CurveKind
from model.evaluation.markdown import full_report
from model.evaluation.rows import measure_by_id
from model.evaluation.statistics import Interval, Summary
from model.release.figures.figures import Figures
from model.release.figures.gaps import Gap
from model.release.figures.published_values import published_table
from model.structures import structure_by_id

CURVE_DEFINITIONS: Mapping[CurveKind, str] = {
    "points": "percentage of the vertices of a case whose point-to-point error is at most error_mm, mean over cases",
    "cases": "percentage of cases whose median point-to-point error is at most error_mm",
}
"""What a curve counts; the published ones are those of vertices."""


def summaries_csv(summaries: Sequence[Summary]) -> str:
    """Give medians, quartiles, means, ranges and 95 % bootstrap intervals; one line per measure, structure, method."""
    header = ["measure", "unit", "structure", "method", "cases", "missing", "median", "median_low", "median_high"]
    header += ["quartile_1", "quartile_3", "mean", "mean_low", "mean_high", "minimum", "maximum"]
    return csv_text(
        header,
        (
            [
                item.measure,
                measure_by_id(item.measure).unit,
                item.structure,
                item.method,
                item.cases,
                item.missing,
                item.median,
                *_limits(item.median_interval),
                *item.quartiles,
                item.mean,
                *_limits(item.mean_interval),
                item.minimum,
                item.maximum,
            ]
            for item in summaries
        ),
    )


def comparisons_csv(comparisons: Sequence[Comparison]) -> str:
    """Give the paired Wilcoxon signed-rank tests: p as it is and after Holm's correction within a measure."""
    header = ["measure", "structure", "first", "second", "pairs", "unpaired", "median_difference", "favours"]
    return csv_text(
        [*header, "p", "p_holm", "significance", "p_is"],
        (
            [
                item.measure,
                item.structure,
                item.first,
                item.second,
                item.pairs,
                item.unpaired,
                item.median_difference,
                item.favours,
                item.p,
                item.p_holm,
                significance(item.p_holm),
                item.way,
            ]
            for item in comparisons
        ),
    )


def significance(p: float | None) -> str:
    """Give the usual mark of a p-value: `***` below 0.001, `**` below 0.01, `*` below 0.05, `ns`; empty for None."""
    if p is None:
        return ""
    return next((mark for limit, mark in ((0.001, "***"), (0.01, "**"), (0.05, "*")) if p < limit), "ns")


def curves_csv(curves: Sequence[Curve]) -> str:
    """Give the error curves, one line per step of 0.05 mm; every line says what is counted."""
    return csv_text(
        ["counts", "definition", "structure", "method", "cases", "error_mm", "percent"],
        (
            [
                "vertices" if curve.kind == "points" else curve.kind,
                CURVE_DEFINITIONS[curve.kind],
                curve.structure,
                curve.method,
                curve.cases,
                step,
                100 * share,
            ]
            for curve in curves
            for step, share in zip(STEPS_MM, curve.shares, strict=True)
        ),
    )


def gaps_csv(gaps: Sequence[Gap]) -> str:
    """Give everything that could not be measured, one line each."""
    return csv_text(
        ["method", "structure", "case", "measure", "reason", "detail"],
        ([gap.method, gap.structure, gap.case, gap.measure, str(gap.reason), gap.detail] for gap in gaps),
    )


def report(figures: Figures) -> str:
    """Give the report: medians, the published ones beside them, tests, and what is missing."""
    parts = [full_report(figures.summaries, figures.methods)]
    published = published_table(figures.summaries)
    if published:
        parts.append(f"## Published and here\n\n{published}")
    if figures.comparisons:
        parts.append(f"## Paired tests\n\n{_tests(figures.comparisons)}")
    if figures.remarks:
        parts.append("## Remarks\n\n" + "\n".join(f"- {remark}" for remark in figures.remarks) + "\n")
    return "\n".join(parts)


def _tests(comparisons: Sequence[Comparison]) -> str:
    """Give the tests as a Markdown table."""
    lines = [
        "Wilcoxon signed-rank, two-sided; Holm's correction over all tests of a measure.\n",
        "| measure | structure | first | second | pairs | median difference | p | p (Holm) | |",
        "|---|---|---|---|---:|---:|---:|---:|---|",
    ]
    for item in comparisons:
        difference = "-" if item.median_difference is None else f"{item.median_difference:+.3f}"
        p_values = (item.way, "-") if item.p is None or item.p_holm is None else (f"{item.p:.2g}", f"{item.p_holm:.2g}")
        names = (measure_by_id(item.measure).label, structure_by_id(item.structure).name, item.first, item.second)
        cells = (*names, str(item.pairs), difference, *p_values, significance(item.p_holm).replace("*", r"\*"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _limits(interval: Interval | None) -> tuple[float | None, float | None]:
    """Give both limits of an interval, None where there is none."""
    return (None, None) if interval is None else interval
