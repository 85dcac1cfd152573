"""What could not be measured, and why: named, never counted as zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from model.evaluation.rows import measure_by_id, ordered
from model.release.figures.layout import listed
from model.structures import STRUCTURE_IDS, structure_by_id


class Reason(StrEnum):
    """Why something could not be measured."""

    NO_MESH = "no mesh"
    NO_MASK = "no mask (`--voxelize` would make one of the mesh)"
    NEITHER = "neither mask nor mesh"
    NO_GRID = "no mask says the grid"
    OPEN = "no mask, and the surface is not closed"
    OTHER_VERTICES = "other vertex count than the truth"


_HINTS = {Reason.OTHER_VERTICES: "`cochlear register-mesh` carries the vertices of the atlas onto such surfaces"}


@dataclass(frozen=True)
class Gap:
    """One value that is not there.

    Attributes:
        method: name of the method, `gt` when it is the truth that lacks something.
        structure: structure id.
        case: name of the case.
        measure: id of the measure that cannot be given.
        reason: why.
        detail: numbers to it, or empty.
    """

    method: str
    structure: str
    case: str
    measure: str
    reason: Reason
    detail: str = ""


def gap_lines(gaps: Sequence[Gap]) -> list[str]:
    """Give one line per method, measure and reason, with the first cases by name."""
    together: dict[tuple[str, str, Reason], list[Gap]] = {}
    for gap in gaps:
        together.setdefault((gap.method, gap.measure, gap.reason), []).append(gap)
    lines = []
    for (method, measure, reason), found in together.items():
        structures = ordered((gap.structure for gap in found), STRUCTURE_IDS)
        codes = ", ".join(structure_by_id(structure).code for structure in structures)
        cases = listed(list(ordered(gap.case for gap in found)), "case")
        name = measure_by_id(measure).name
        line = f"{method}: no {name[0].lower() + name[1:] if name != 'Dice' else name} of {codes} for {cases}: {reason}"
        if found[0].detail:
            line += f", such as {found[0].detail}"
        lines.append(f"{line}; {_HINTS[reason]}" if reason in _HINTS else line)
    return lines
