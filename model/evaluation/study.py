"""A study: many methods on many cases, scored, summarised, compared and written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from model.errors import OptionError
from model.evaluation.comparisons import Comparison, compare_methods
from model.evaluation.curves import STEPS_MM, Curve, error_curves
from model.evaluation.folders import Progress, find_study, score_study
from model.evaluation.markdown import full_report
from model.evaluation.missing import Missing, find_missing
from model.evaluation.rows import MEASURES, Row, check_rows, ordered, rows_to_csv
from model.evaluation.statistics import MIN_CASES, Summary, summarise
from model.outputs.publish import published_folder

SUMMARY_NAME = "summary.json"
PICTURE_FORMATS: tuple[str, ...] = ("png", "svg", "pdf")
_SCHEMA_VERSION = "1.0"


@dataclass(frozen=True)
class Study:
    """Everything that many rows say.

    Attributes:
        rows: one per method, group, case and structure.
        summaries: medians, means and intervals.
        comparisons: paired tests between methods.
        curves: error curves.
        missing: results that are not there.
        remarks: what else the reader should know.
    """

    rows: tuple[Row, ...]
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[Curve, ...]
    missing: tuple[Missing, ...]
    remarks: tuple[str, ...] = ()


def evaluate_rows(rows: Iterable[Row], *, reference: str | None = None, seed: int = 0) -> Study:
    """Work out everything from rows.

    Args:
        rows: in any order; methods and groups keep the order in which they first come.
        reference: test only against this method; None tests all pairs.
        seed: of the bootstrap.

    Raises:
        InputError: there are no rows, or two about the same thing.
        OptionError: there is no method named `reference`.
    """
    settled = check_rows(rows)
    return Study(
        rows=settled,
        summaries=tuple(summarise(settled, seed)),
        comparisons=tuple(compare_methods(settled, reference)),
        curves=tuple(error_curves(settled)),
        missing=tuple(find_missing(settled)),
        remarks=tuple(_remarks(settled)),
    )


def evaluate_study(
    results: Path,
    truths: Path,
    *,
    methods: Sequence[str] | None = None,
    cases: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    reference: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Study:
    """Score and evaluate a study that lies in folders; see `find_study` for the layout and the arguments.

    Raises:
        InputError: something cannot be used; said before anything is scored wherever names and headers show it.
    """
    found = find_study(results, truths, methods=methods, cases=cases, groups=groups)
    if reference is not None and reference not in found.methods:
        raise OptionError(
            "there is no such method to compare with", expected=f"one of {', '.join(found.methods)}", found=reference
        )
    study = evaluate_rows(score_study(found, progress), reference=reference, seed=seed)
    return replace(study, remarks=(*found.remarks, *study.remarks))


def study_to_json(study: Study) -> dict[str, Any]:
    """Give a study as plain JSON values, rows included."""
    return {
        "schema_version": _SCHEMA_VERSION,
        "methods": list(ordered(row.method for row in study.rows)),
        "groups": list(ordered(row.group for row in study.rows)),
        "measures": [asdict(measure) for measure in MEASURES],
        "fewest_cases_for_intervals_and_tests": MIN_CASES,
        "missing": [str(item) for item in study.missing],
        "remarks": list(study.remarks),
        "summaries": [asdict(summary) for summary in study.summaries],
        "comparisons": [asdict(comparison) for comparison in study.comparisons],
        "curve_steps_mm": list(STEPS_MM),
        "curves": [asdict(curve) for curve in study.curves],
        "rows": [row.to_json() for row in study.rows],
    }


def write_study(
    study: Study, out: Path, formats: Sequence[str] = ("png", "svg"), progress: Progress | None = None
) -> None:
    """Write a study into a folder, which holds all of it afterwards or is left as it was.

    Files: `scores.csv` (one line per method, group, case and structure), `summary.json`, `table.md` (medians),
    `boxes-<measure>` and `curves-<kind>-<measure>` in every format.

    Args:
        study: the study.
        out: folder to make; a new or empty one, or one with an earlier study, whose files are replaced.
        formats: of the pictures, of `PICTURE_FORMATS`.
        progress: told about each picture.

    Raises:
        OptionError: a format is not offered, or `out` holds something else.
    """
    check_formats(formats)
    # Drawing is loaded here so that scoring does not pay for it.
    from model.evaluation.box_plots import draw_boxes
    from model.evaluation.curve_plots import draw_curves

    methods = ordered(row.method for row in study.rows)
    with published_folder(out, SUMMARY_NAME) as folder:
        (folder / "scores.csv").write_text(rows_to_csv(study.rows), encoding="utf-8", newline="")
        (folder / "table.md").write_text(full_report(study.summaries, methods), encoding="utf-8")
        document = json.dumps(study_to_json(study), indent=1, allow_nan=False)
        (folder / SUMMARY_NAME).write_text(document + "\n", encoding="utf-8")
        drawings: list[tuple[str, Callable[[Sequence[Path]], None]]] = []
        for measure in MEASURES:
            if any(row.value(measure.id) is not None for row in study.rows):
                drawings.append((f"boxes-{measure.id}", partial(draw_boxes, study.rows, measure)))
        for kind, measure_id in dict.fromkeys((curve.kind, curve.measure) for curve in study.curves):
            chosen = [curve for curve in study.curves if (curve.kind, curve.measure) == (kind, measure_id)]
            drawings.append((f"curves-{kind}-{measure_id}", partial(draw_curves, chosen, methods)))
        for done, (name, draw) in enumerate(drawings):
            if progress is not None:
                progress(f"drawing {name}", done / len(drawings))
            draw([folder / f"{name}.{fmt}" for fmt in dict.fromkeys(formats)])


def check_formats(formats: Sequence[str]) -> None:
    """Refuse picture formats that are not of `PICTURE_FORMATS`.

    Raises:
        OptionError: names them.
    """
    unknown = [name for name in formats if name not in PICTURE_FORMATS]
    if unknown:
        raise OptionError(
            "unknown picture format", expected=", ".join(PICTURE_FORMATS), found=", ".join(unknown), field="formats"
        )


def _remarks(rows: Sequence[Row]) -> list[str]:
    """Point out results that miss their structure altogether: often a wrong space, axis or affine."""
    missed = [row for row in rows if row.dice == 0]
    return [f"{row.name}: nothing in common with the truth; is it in the right space?" for row in missed]
