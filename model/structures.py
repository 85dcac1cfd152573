"""The four structures: the one vocabulary for ids, published codes, label values and colours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """One anatomical structure.

    Attributes:
        id: name in URLs, files and JSON.
        code: two-letter code of the published release.
        label: value in label maps.
        name: name for people.
        colour: sRGB, 0..255.
    """

    id: str
    code: str
    label: int
    name: str
    colour: tuple[int, int, int]


MODIOLUS = Structure("modiolus", "MD", 1, "Modiolus", (240, 196, 25))
SCALA_TYMPANI = Structure("scala_tympani", "ST", 2, "Scala tympani", (214, 60, 60))
SCALA_VESTIBULI = Structure("scala_vestibuli", "SV", 3, "Scala vestibuli", (52, 120, 216))
LABYRINTH = Structure("labyrinth", "CC", 4, "Bony labyrinth", (120, 190, 150))

STRUCTURES: tuple[Structure, ...] = (MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI, LABYRINTH)
"""All structures, in the published order of their vertices."""

STRUCTURE_IDS: tuple[str, ...] = tuple(structure.id for structure in STRUCTURES)


def structure_by_id(structure_id: str) -> Structure:
    """Give the structure of an id.

    Raises:
        KeyError: when there is no such structure.
    """
    for structure in STRUCTURES:
        if structure.id == structure_id:
            return structure
    raise KeyError(structure_id)
