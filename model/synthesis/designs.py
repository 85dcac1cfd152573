"""Electrode arrays of three makers: what a cochlear implant puts into the ear.

Dimensions are those of the makers' data sheets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.synthesis.grid import FloatArray

Placement = Literal["lateral", "perimodiolar", "middle"]
Maker = Literal["Cochlear", "MED-EL", "Advanced Bionics"]

MAKERS: tuple[Maker, ...] = ("Cochlear", "MED-EL", "Advanced Bionics")
"""The makers whose arrays are known."""


@dataclass(frozen=True)
class ArrayDesign:
    """One kind of electrode array, lengths in millimetres.

    Attributes:
        maker: who makes it.
        model: which array.
        contacts: number of channels.
        pitch_mm: mean distance of neighbouring contacts.
        inserted_mm: usual length within the cochlea.
        tip_mm: from the tip to the centre of the most apical contact.
        tip_radius_mm, base_radius_mm: of the silicone carrier.
        placement: the wall it lies along.
        area_mm2: platinum surface of one contact.
        angle_deg: usual insertion angle; no array is pushed much further.
        taper: contacts lie closer by this share of the pitch at the tip, and wider apart at the base.
        pairs: basal channels that are two contacts, one on each side of the carrier.
    """

    maker: Maker
    model: str
    contacts: int
    pitch_mm: float
    inserted_mm: float
    tip_mm: float
    tip_radius_mm: float
    base_radius_mm: float
    placement: Placement
    area_mm2: float
    angle_deg: float
    taper: float = 0.0
    pairs: int = 0

    @property
    def name(self) -> str:
        """Maker and model."""
        return f"{self.maker} {self.model}"

    @property
    def radius_mm(self) -> float:
        """Radius of the carrier at mid length."""
        return (self.tip_radius_mm + self.base_radius_mm) / 2

    @property
    def offsets_mm(self) -> FloatArray:
        """(contacts,) distances of the contact centres from the tip, the most apical first."""
        gaps = self.pitch_mm * np.linspace(1.0 - self.taper, 1.0 + self.taper, self.contacts - 1)
        return self.tip_mm + np.concatenate([[0.0], np.cumsum(gaps)])


DESIGNS: tuple[ArrayDesign, ...] = (
    ArrayDesign(
        "Cochlear", "Contour Advance", 22, 0.70, 18.0, 0.6, 0.25, 0.40, "perimodiolar", 0.28, 380.0, taper=0.14
    ),
    ArrayDesign("Cochlear", "Slim Modiolar", 22, 0.65, 17.0, 0.4, 0.19, 0.25, "perimodiolar", 0.24, 400.0),
    ArrayDesign("Cochlear", "Slim Straight", 22, 0.90, 22.0, 0.4, 0.15, 0.30, "lateral", 0.24, 430.0),
    ArrayDesign("MED-EL", "Flex24", 12, 1.90, 24.0, 1.0, 0.20, 0.40, "lateral", 0.14, 450.0, pairs=7),
    ArrayDesign("MED-EL", "Flex26", 12, 1.90, 26.0, 1.0, 0.20, 0.40, "lateral", 0.14, 510.0, pairs=7),
    ArrayDesign("MED-EL", "Flex28", 12, 2.10, 28.0, 1.0, 0.20, 0.40, "lateral", 0.14, 570.0, pairs=7),
    ArrayDesign("MED-EL", "Flex Soft", 12, 2.40, 31.0, 1.0, 0.22, 0.45, "lateral", 0.14, 640.0, pairs=7),
    ArrayDesign("Advanced Bionics", "HiFocus 1J", 16, 1.10, 20.0, 0.8, 0.20, 0.40, "lateral", 0.22, 440.0),
    ArrayDesign("Advanced Bionics", "SlimJ", 16, 1.30, 22.5, 0.6, 0.15, 0.35, "lateral", 0.22, 430.0),
    ArrayDesign("Advanced Bionics", "Mid-Scala", 16, 1.00, 18.5, 0.6, 0.25, 0.35, "middle", 0.22, 400.0),
)


def draw_design(rng: np.random.Generator, maker: Maker | None = None) -> ArrayDesign:
    """Draw an array: each maker as often as the others, then each of its models.

    Args:
        rng: source of randomness.
        maker: one maker's only, or None for any.
    """
    drawn = MAKERS[int(rng.integers(len(MAKERS)))]
    models = [design for design in DESIGNS if design.maker == (maker or drawn)]
    return models[int(rng.integers(len(models)))]
