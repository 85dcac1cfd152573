"""The table of a study that fits on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.evaluation.markdown import Column, markdown_table
from model.evaluation.statistics import Summary
from model.structures import LABYRINTH, STRUCTURES
from model.study.sets import ARRAY, CROP, DISTURBED, SYNTHETIC, VALIDATION

_LABELLED = (
    Column("dice", VALIDATION, LABYRINTH.id, "mean", "as scanned: Dice"),
    Column("dice", VALIDATION, LABYRINTH.id, "minimum", "lowest"),
    Column("hausdorff95_mm", VALIDATION, LABYRINTH.id, "maximum", "largest HD95, mm", decimals=2),
    Column("dice", ARRAY, LABYRINTH.id, "mean", "with an array: Dice"),
    Column("dice", ARRAY, LABYRINTH.id, "minimum", "lowest"),
    Column("hausdorff95_mm", ARRAY, LABYRINTH.id, "maximum", "largest HD95, mm", decimals=2),
    Column("dice", DISTURBED, LABYRINTH.id, "mean", "landmarks disturbed: Dice"),
)


def _synthetic(group: str) -> tuple[Column, ...]:
    """Give the columns of a set with the whole truth."""
    return (
        *(Column("dice", group, one.id, "median", f"Dice {one.code}", decimals=2) for one in STRUCTURES),
        *(Column("point_to_point_mm", group, one.id, "median", f"{one.code}, mm", decimals=2) for one in STRUCTURES),
        Column("folds", group, LABYRINTH.id, "maximum", "largest folded share"),
    )


_PARTS = (
    (
        "Labyrinth of the validation ears: mean and worst Dice, worst 95 % surface distance; as scanned, with an "
        "inserted electrode array, and with landmarks displaced by 0.5 mm (rms).",
        _LABELLED,
    ),
    (
        "Unseen synthetic implanted ears: median over ears of Dice and of the mean point-to-point error.",
        _synthetic(SYNTHETIC),
    ),
    ("The same ears as prepared crops without landmarks.", _synthetic(CROP)),
)


def readme_table(summaries: Sequence[Summary], seconds: Mapping[str, float]) -> str:
    """Give the tables of a study in Markdown, with how long an ear takes.

    Sets of which nothing is known are left out.

    Args:
        summaries: of the study.
        seconds: median time an ear, by method.
    """
    groups = {summary.group for summary in summaries}
    parts = []
    for title, columns in _PARTS:
        shown = [column for column in columns if column.group in groups]
        if shown:
            parts.append(f"{title}\n\n{markdown_table(summaries, shown, methods=tuple(seconds))}")
    times = ", ".join(f"{method} {value:.1f}" for method, value in seconds.items())
    return "\n".join([*parts, f"Median time an ear on one core, s: {times}.\n"])
