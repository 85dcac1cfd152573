"""The sets of ears on which methods are compared, each ear made once and from seeds.

`validation`: the labelled ears that training never saw, as scanned. `validation_array`: the same with an electrode
array and its artifact inserted. `validation_disturbed`: as scanned, the landmarks displaced. `synthetic_implanted`:
synthetic ears with an implant and with their whole truth, in scans with landmarks set as people set them.
`synthetic_crop`: the same ears as prepared crops without landmarks, their pose left to the method.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from model.atlas.labelled_ears import read_split
from model.errors import OptionError
from model.geometry.landmarks import Landmarks
from model.study.case import LANDMARKS, StudyCase
from model.study.disturb import disturbed
from model.study.workshop import Workshop

VALIDATION, ARRAY, DISTURBED = "validation", "validation_array", "validation_disturbed"
SYNTHETIC, CROP = "synthetic_implanted", "synthetic_crop"

SETS = (VALIDATION, ARRAY, DISTURBED, SYNTHETIC, CROP)
"""Names of the sets, in the order of tables."""

DISTURBANCE_MM = 0.5
"""Root mean square displacement of each disturbed landmark: 0.29 mm standard deviation along each axis."""

_DISTURB_STREAM = 11


@dataclass(frozen=True)
class SetOptions:
    """How large the sets are.

    Attributes:
        arrays: electrode arrays inserted into each validation ear, one at a time.
        synthetic: synthetic ears; their seeds are 0, 1, ..., those of training start at 1000.
        draws: disturbed sets of landmarks of each validation ear.
    """

    arrays: int = 4
    synthetic: int = 50
    draws: int = 4


class Recipe(Protocol):
    """How to make one ear of a set."""

    @property
    def name(self) -> str:
        """Name of the ear, unique in its set."""

    def make(self, workshop: Workshop) -> StudyCase:
        """Give the ear, made now unless it was before."""


@dataclass(frozen=True)
class Scanned:
    """A labelled ear as it is; `folder` holds it."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the ear."""
        return self.folder.name

    def make(self, workshop: Workshop) -> StudyCase:
        """Give the ear."""
        return StudyCase(VALIDATION, self.name, self.folder, self.folder / LANDMARKS)


@dataclass(frozen=True)
class WithArray:
    """The labelled ear in `folder` with the electrode array of `number`."""

    folder: Path
    number: int

    @property
    def name(self) -> str:
        """Name of the ear with the number of the array."""
        return f"{self.folder.name}-array{self.number}"

    def make(self, workshop: Workshop) -> StudyCase:
        """Insert the array."""
        made = workshop.once(ARRAY, self.name, lambda to: workshop.insert_array(self.folder, self.number, to))
        return StudyCase(ARRAY, self.name, made, made / LANDMARKS)


@dataclass(frozen=True)
class Disturbed:
    """The labelled ear in `folder` with its landmarks displaced, draw `number`."""

    folder: Path
    number: int

    @property
    def name(self) -> str:
        """Name of the ear with the number of the draw."""
        return f"{self.folder.name}-draw{self.number}"

    def make(self, workshop: Workshop) -> StudyCase:
        """Displace the landmarks."""
        made = workshop.once(DISTURBED, self.name, self._write)
        return StudyCase(DISTURBED, self.name, self.folder, made / LANDMARKS)

    def _write(self, to: Path) -> None:
        landmarks = Landmarks.parse((self.folder / LANDMARKS).read_bytes())
        rng = np.random.default_rng([_DISTURB_STREAM, *self.folder.name.encode(), self.number])
        moved = disturbed(landmarks, DISTURBANCE_MM, rng)
        (to / LANDMARKS).write_text(json.dumps(moved.to_json(), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Synthetic:
    """The synthetic implanted ear of a seed, as a scan or as a prepared crop."""

    seed: int
    crop: bool = False

    @property
    def name(self) -> str:
        """Name of the ear, with its seed."""
        return f"ear-{self.seed:06d}"

    def make(self, workshop: Workshop) -> StudyCase:
        """Synthesize the ear."""
        if self.crop:
            made = workshop.once(CROP, self.name, lambda to: workshop.synthesize_crop(self.seed, to))
            return StudyCase(CROP, self.name, made, None)
        made = workshop.once(SYNTHETIC, self.name, lambda to: workshop.synthesize_scan(self.seed, to))
        return StudyCase(SYNTHETIC, self.name, made, made / LANDMARKS)


def plan_sets(names: Sequence[str], ears: Path, options: SetOptions) -> list[Recipe]:
    """Give the recipes of all ears of several sets.

    Args:
        names: of `SETS`.
        ears: folder of labelled ears with `split.json`.
        options: how large the sets are.

    Raises:
        OptionError: an unknown set.
        InputError: the split cannot be read.
    """
    unknown = [name for name in names if name not in SETS]
    if unknown or not names:
        raise OptionError("there is no such set of ears", expected=", ".join(SETS), found=", ".join(unknown)[:80])
    folders = [ears / name for name in read_split(ears)["validation"]]
    plans: dict[str, list[Recipe]] = {
        VALIDATION: [Scanned(folder) for folder in folders],
        ARRAY: [WithArray(folder, number) for folder in folders for number in range(options.arrays)],
        DISTURBED: [Disturbed(folder, number) for folder in folders for number in range(options.draws)],
        SYNTHETIC: [Synthetic(seed) for seed in range(options.synthetic)],
        CROP: [Synthetic(seed, crop=True) for seed in range(options.synthetic)],
    }
    return [recipe for name in SETS if name in names for recipe in plans[name]]
