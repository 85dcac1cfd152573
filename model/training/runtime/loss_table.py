"""The losses of a run as CSV files that an interruption leaves whole."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path


class LossTable:
    """A CSV file with one row per step; the first column is `step`.

    Every row is on its way to the disk before the next one starts. What later rows add to the columns is added to the
    earlier ones, empty.
    """

    def __init__(self, path: Path, start: int) -> None:
        """Open the table of a run that goes on after step `start`; rows of later steps are dropped."""
        self.path = path
        self.columns: list[str] = []
        rows = read_losses(path) if path.exists() else []
        self._rewrite([row for row in rows if int(row["step"]) <= start])

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the row of a step."""
        new = [name for name in values if name not in self.columns]
        if new:
            self.columns += new
            self._rewrite(read_losses(self.path))
        with self.path.open("a", newline="", encoding="utf-8") as file:
            # The shortest text that gives the same number back.
            csv.writer(file).writerow([step, *(repr(values[n]) if n in values else "" for n in self.columns)])

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """Write the whole table, the earlier one standing until it is done."""
        if rows:
            self.columns = [*(name for name in rows[0] if name != "step"), *self.columns]
            self.columns = list(dict.fromkeys(self.columns))
        unfinished = self.path.with_suffix(".part")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *self.columns], restval="")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(unfinished, self.path)


def read_losses(path: Path) -> list[dict[str, str]]:
    """Read a table, column name to text; a last row that an interruption cut short is left out."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(whole.splitlines()))
