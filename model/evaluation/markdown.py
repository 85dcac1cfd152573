"""Tables in Markdown: methods down, sets and structures across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model.evaluation.rows import MEASURES, measure_by_id, ordered
from model.evaluation.statistics import Summary
from model.structures import STRUCTURE_IDS, structure_by_id

CellStatistic = Literal["median", "mean", "minimum", "maximum"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        measure: id of the measure.
        group: group of the cases.
        structure: structure id.
        statistic: what is shown of the cases.
        heading: first line of the column; None makes one of group and structure.
        interval: whether the 95 % interval of a mean or median is shown as well.
        decimals: decimals shown; None takes the measure's.
    """

    measure: str
    group: str
    structure: str
    statistic: CellStatistic = "median"
    heading: str | None = None
    interval: bool = False
    decimals: int | None = None

    @property
    def title(self) -> str:
        """The heading."""
        return self.heading or f"{self.group}: {structure_by_id(self.structure).name}"

    def cell(self, summary: Summary | None, most_cases: int) -> str:
        """Give the text of one method: a dash where nothing is known, the number of cases where some are missing."""
        if summary is None:
            return "-"
        decimals = measure_by_id(self.measure).decimals if self.decimals is None else self.decimals
        text = f"{getattr(summary, self.statistic):.{decimals}f}"
        limits = {"mean": summary.mean_interval, "median": summary.median_interval}.get(self.statistic)
        if self.interval and limits is not None:
            text += f" [{limits[0]:.{decimals}f}, {limits[1]:.{decimals}f}]"
        return text if summary.cases == most_cases else f"{text} (n={summary.cases})"


def markdown_table(
    summaries: Sequence[Summary], columns: Sequence[Column], *, methods: Sequence[str] | None = None
) -> str:
    """Give a table of methods by columns.

    The number of cases stands in the heading, and in a cell where the method has fewer.

    Args:
        summaries: of a study.
        columns: what to show.
        methods: which methods, in this order; None takes all.

    Returns:
        GitHub-flavoured Markdown, ending with a line break.
    """
    found = {(item.measure, item.group, item.structure, item.method): item for item in summaries}
    names = ordered(item.method for item in summaries) if methods is None else tuple(methods)
    cells = [[column.title for column in columns]]
    counts = []
    for column in columns:
        place = (column.measure, column.group, column.structure)
        counts.append(max((item.cases for key, item in found.items() if key[:3] == place), default=0))
    lines = ["| method | " + " | ".join(f"{title}, n={n}" for title, n in zip(cells[0], counts, strict=True)) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name in names:
        row = [
            column.cell(found.get((column.measure, column.group, column.structure, name)), count)
            for column, count in zip(columns, counts, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def full_report(summaries: Sequence[Summary], methods: Sequence[str]) -> str:
    """Give one table per measure and group: medians with their 95 % intervals, one column per structure.

    Args:
        summaries: of a study.
        methods: all of them, in order.
    """
    parts = []
    groups = ordered(item.group for item in summaries)
    for measure in MEASURES:
        for group in groups:
            here = [item for item in summaries if item.measure == measure.id and item.group == group]
            if here:
                structures = ordered((item.structure for item in here), STRUCTURE_IDS)
                columns = [
                    Column(measure.id, group, structure, heading=structure_by_id(structure).name, interval=True)
                    for structure in structures
                ]
                heading = f"## {measure.label}, {group}\n\nMedian over cases"
                many = any(item.median_interval is not None for item in here)
                note = " [95 % bootstrap interval].\n\n" if many else "; too few for intervals.\n\n"
                parts.append(heading + note + markdown_table(here, columns, methods=methods))
    return "\n".join(parts)
