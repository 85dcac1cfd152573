"""Tables as CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

Cell = str | int | float | None


def csv_text(header: Sequence[str], lines: Iterable[Sequence[Cell]]) -> str:
    """Give a table as CSV with a header; numbers with six digits, empty where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    for line in lines:
        writer.writerow([_shown(cell) for cell in line])
    return text.getvalue()


def _shown(cell: Cell) -> str | int:
    """Give a cell as it stands in the file."""
    if cell is None:
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else cell
