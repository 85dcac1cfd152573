"""Settings of the refinement of a registration on the image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RefinementOptions:
    """How the refinement runs; lengths in millimetres.

    Attributes:
        levels: control points per axis over the whole crop, coarse to fine; each stage frees one more level.
        steps: optimiser steps of each stage.
        learning_rate: Adam step, voxels.
        depths_mm: distances from the surface, inward and outward, at which the image is compared.
        points: vertices drawn at every step.
        contrast: difference between inside and outside, in units of the intensity range of 2, beyond which an edge
            counts no more than any other.
        full_edge: difference in the atlas image, same units, from which an edge counts fully.
        stiffness: weight of the mean squared second derivative of the field, (voxels per squared voxel) squared.
        restraint: weight of the squared displacement, voxels.
        hold: weight of the squared displacement of the structures whose own edges are not looked for, voxels.
        metal_hu: HU from which a voxel counts as metal; the image within `metal_margin_mm` of it is not looked at.
        metal_margin_mm: see `metal_hu`.
        border_margin_mm: the image within this distance of the border of its field of view is not looked at either.
        fade_mm: beyond these margins the image counts more and more, and fully from this distance on.
    """

    levels: tuple[int, ...] = (4, 8, 16, 32)
    steps: int = 30
    learning_rate: float = 0.2
    depths_mm: tuple[float, ...] = (0.1, 0.25, 0.5)
    points: int = 4000
    contrast: float = 1.0
    full_edge: float = 1.5
    stiffness: float = 60.0
    restraint: float = 0.03
    hold: float = 0.02
    metal_hu: float = 3000.0
    metal_margin_mm: float = 0.6
    border_margin_mm: float = 0.4
    fade_mm: float = 0.3
