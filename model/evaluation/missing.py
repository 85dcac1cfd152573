"""What a study lacks, so that nobody takes silence for a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.evaluation.rows import Row, ordered
from model.structures import STRUCTURE_IDS


@dataclass(frozen=True)
class Missing:
    """A result that is not there.

    Attributes:
        method: name of the method.
        group: group of the case.
        case: name of the case.
        structures: ids of the structures that have a truth and no result.
        whole_case: whether the method has nothing at all for the case.
    """

    method: str
    group: str
    case: str
    structures: tuple[str, ...]
    whole_case: bool

    def __str__(self) -> str:
        """One line for people."""
        what = "no result" if self.whole_case else f"no {', '.join(self.structures)}"
        return f"{self.method}: {what} for case {self.case} ({self.group})"


def find_missing(rows: Sequence[Row]) -> list[Missing]:
    """Name every case and structure that some method has a row for and another has no value of.

    Args:
        rows: rows of a study; one without any value counts as missing.
    """
    wanted: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        wanted.setdefault((row.group, row.case), {})[row.structure] = None
    known = {(row.method, row.group, row.case, row.structure) for row in rows if not row.empty}
    found = []
    for method in ordered(row.method for row in rows):
        for (group, case), names in wanted.items():
            structures = ordered(names, STRUCTURE_IDS)
            lacking = tuple(name for name in structures if (method, group, case, name) not in known)
            if lacking:
                found.append(Missing(method, group, case, lacking, lacking == structures))
    return found
