"""What commands on whole studies have in common: lists of names in, warnings and medians out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from model.evaluation.rows import MEASURES
from model.structures import structure_by_id

if TYPE_CHECKING:
    from model.evaluation.statistics import Summary

_REMARKS_SHOWN = 12


def names_of(text: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def say_remarks(remarks: Sequence[str]) -> None:
    """Warn about what is missing, on standard error; the rest stands in the summary."""
    for remark in remarks[:_REMARKS_SHOWN]:
        typer.echo(f"warning: {remark}", err=True)
    if len(remarks) > _REMARKS_SHOWN:
        typer.echo(
            f"warning: {len(remarks) - _REMARKS_SHOWN} more, all of them in the summary that --out writes", err=True
        )


def print_medians(summaries: Sequence[Summary]) -> None:
    """Print the medians over cases: groups, structures and methods down, measures across."""
    shown = [measure for measure in MEASURES if any(item.measure == measure.id for item in summaries)]
    table = Table(title="Medians over cases", box=SIMPLE)
    for heading in ("group", "", "method"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", *(f"{measure.short} {measure.unit}".strip() for measure in shown)):
        table.add_column(heading, justify="right", no_wrap=True)
    lines: dict[tuple[str, str, str], dict[str, Summary]] = {}
    for item in summaries:
        lines.setdefault((item.group, item.structure, item.method), {})[item.measure] = item
    for (group, structure, method), found in lines.items():
        most = max(item.cases for item in found.values())
        cells = ["-"] * len(shown)
        for at, measure in enumerate(shown):
            if measure.id in found:
                item = found[measure.id]
                fewer = "" if item.cases == most else f" (n={item.cases})"
                cells[at] = f"{item.median:.{measure.decimals}f}{fewer}"
        table.add_row(group, structure_by_id(structure).code, method, str(most), *cells)
    console = Console()
    # Where nobody looks the width is a guess; nothing is cut off for it.
    (console if console.is_terminal else Console(width=200)).print(table)
