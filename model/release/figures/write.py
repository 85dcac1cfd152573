"""Writing the published results into a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from model.evaluation.curves import STEPS_MM
from model.evaluation.folders import Progress
from model.evaluation.rows import rows_to_csv
from model.evaluation.statistics import MIN_CASES
from model.evaluation.study import check_formats
from model.outputs.publish import published_folder
from model.release.figures.figures import Figures
from model.release.figures.published_values import PUBLISHED_CASES, PUBLISHED_MEDIANS
from model.release.figures.tables import CURVE_DEFINITIONS, comparisons_csv, curves_csv, gaps_csv, report, summaries_csv

SUMMARY_NAME = "summary.json"
FORMATS: tuple[str, ...] = ("png", "svg", "pdf")
_SCHEMA_VERSION = "1.0"


def write_figures(
    figures: Figures,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    progress: Progress | None = None,
) -> None:
    """Write everything into a folder, which holds all of it afterwards or is left as it was.

    Files: `scores.csv` (one line per method, case and structure), `medians.csv`, `tests.csv`, `curves.csv`,
    `missing.csv`, `report.md` and `summary.json`. In `pictures`, in every format: `boxes-<measure>`,
    `curves-<vertices|cases>` and, of each shown case, `surfaces-<case>` and `errors-<case>`.

    Args:
        figures: the results.
        out: folder to make; a new or empty one, or one with earlier results, which are replaced.
        formats: of the pictures: png, svg, pdf.
        progress: told about each picture.

    Raises:
        OptionError: a format is not offered, or `out` holds something else.
    """
    check_formats(formats)
    # Drawing is loaded here so that measuring does not pay for it.
    from model.release.figures.charts import Drawing, charts
    from model.release.figures.mesh_panels import PanelSet

    with published_folder(out, SUMMARY_NAME) as folder:
        tables = {
            "scores.csv": rows_to_csv(figures.rows),
            "medians.csv": summaries_csv(figures.summaries),
            "tests.csv": comparisons_csv(figures.comparisons),
            "curves.csv": curves_csv(figures.curves),
            "missing.csv": gaps_csv(figures.gaps),
            "report.md": report(figures),
            SUMMARY_NAME: json.dumps(figures_to_json(figures), indent=1, allow_nan=False) + "\n",
        }
        for name, text in tables.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
        drawings: list[Drawing] = charts(figures)
        for case in figures.shown:
            panels = PanelSet(figures, case)
            drawings += [(f"{kind}-{case}", partial(panels.draw, kind)) for kind in panels.kinds]
        pictures = folder / "pictures"
        pictures.mkdir()
        for done, (name, draw) in enumerate(drawings):
            if progress is not None:
                progress(f"drawing {name}", done / len(drawings))
            draw([pictures / f"{name}.{fmt}" for fmt in dict.fromkeys(formats)])


def figures_to_json(figures: Figures) -> dict[str, Any]:
    """Give the results and how they came about as plain JSON values."""
    return {
        "schema_version": _SCHEMA_VERSION,
        "methods": list(figures.methods),
        "cases": list(figures.measuring.found.cases),
        "options": asdict(figures.measuring.options),
        "spacings_mm": [list(spacing) for spacing in figures.spacings_mm],
        "active_modiolus_vertices": figures.active_vertices,
        "reference": figures.reference,
        "fewest_cases_for_intervals_and_tests": MIN_CASES,
        "mesh_panels": list(figures.shown),
        "remarks": list(figures.remarks),
        "summaries": [asdict(summary) for summary in figures.summaries],
        "published_medians": [
            {"method": method, "measure": measure, "cases": PUBLISHED_CASES, **medians}
            for (method, measure), medians in PUBLISHED_MEDIANS.items()
        ],
        "comparisons": [asdict(comparison) for comparison in figures.comparisons],
        "curve_definitions": dict(CURVE_DEFINITIONS),
        "curve_steps_mm": list(STEPS_MM),
        "curves": [asdict(curve) for curve in figures.curves],
        "missing": [asdict(gap) for gap in figures.gaps],
    }
