"""Electrode arrays: where the metal of a cochlear implant lies in a given ear.

The array follows the scala tympani, whose vertices carry the angle along the cochlea: each angle gives a cross-section
with a centre, an outer and an inner wall. Dimensions of the arrays follow the makers' data sheets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from model.meshes.mesh import SurfaceMesh
from model.structures import MODIOLUS, SCALA_TYMPANI
from model.synthesis.grid import CANONICAL_SPACING_MM, FloatArray

Placement = Literal["lateral", "perimodiolar", "middle"]

_LEAD_DIRECTION = np.array([0.67, 0.32, 0.67])
_LEAD_MM = 9.0
_SECTION_DEG = 4.0
_PATH_STEP_MM = 0.1
_CONTACT_SIGMA_MM = 0.12
_WIRE_SIGMA_MM = 0.10
_WIRE_RADIUS_MM = 0.0125


@dataclass(frozen=True)
class ArrayDesign:
    """One kind of electrode array, lengths in millimetres.

    Attributes:
        name: maker and array.
        contacts: number of contacts.
        pitch_mm: distance of neighbouring contacts.
        inserted_mm: usual length within the cochlea.
        tip_mm: from the tip to the centre of the most apical contact.
        radius_mm: of the silicone carrier at mid length.
        placement: the wall it lies along.
        area_mm2: platinum surface of one contact.
        angle_deg: usual insertion angle; no array is pushed much further.
    """

    name: str
    contacts: int
    pitch_mm: float
    inserted_mm: float
    tip_mm: float
    radius_mm: float
    placement: Placement
    area_mm2: float
    angle_deg: float


DESIGNS: tuple[ArrayDesign, ...] = (
    ArrayDesign("Cochlear Contour Advance", 22, 0.68, 18.0, 0.6, 0.33, "perimodiolar", 0.28, 380.0),
    ArrayDesign("Cochlear Slim Modiolar", 22, 0.65, 17.0, 0.4, 0.22, "perimodiolar", 0.24, 400.0),
    ArrayDesign("Cochlear Slim Straight", 22, 0.90, 21.5, 0.4, 0.23, "lateral", 0.24, 430.0),
    ArrayDesign("MED-EL Flex24", 12, 1.90, 24.0, 1.0, 0.30, "lateral", 0.20, 450.0),
    ArrayDesign("MED-EL Flex28", 12, 2.10, 27.0, 1.0, 0.30, "lateral", 0.20, 560.0),
    ArrayDesign("MED-EL Standard", 12, 2.40, 29.0, 1.0, 0.35, "lateral", 0.20, 610.0),
    ArrayDesign("Advanced Bionics HiFocus 1J", 16, 1.10, 19.5, 0.8, 0.30, "lateral", 0.22, 430.0),
    ArrayDesign("Advanced Bionics SlimJ", 16, 1.30, 22.0, 0.6, 0.25, "lateral", 0.22, 430.0),
    ArrayDesign("Advanced Bionics Mid-Scala", 16, 1.00, 18.0, 0.6, 0.30, "middle", 0.22, 400.0),
)


@dataclass(frozen=True)
class ElectrodeArray:
    """An inserted array, positions in canonical ijk.

    Attributes:
        design: the kind of array.
        contacts_ijk: (n, 3) contact centres, the most apical first.
        pieces_ijk: (m, 3) small lumps of platinum that make up contacts and wires.
        pieces_mm3: (m,) platinum volume of each lump.
        pieces_sigma_mm: (m,) width of each lump.
        insertion_deg: angle of the tip along the cochlea.
    """

    design: ArrayDesign
    contacts_ijk: FloatArray
    pieces_ijk: FloatArray
    pieces_mm3: FloatArray
    pieces_sigma_mm: FloatArray
    insertion_deg: float


@dataclass(frozen=True)
class ScalaSections:
    """Cross-sections of the scala tympani at increasing angles; lengths in millimetres.

    Attributes:
        angles_deg: (n,) angles.
        centres_mm: (n, 3) section centres, canonical ijk times 0.2 mm.
        outward: (n, 3) unit vectors from the modiolar axis outwards.
        inner_mm, outer_mm: (n,) walls along `outward`, relative to the centre (inner is negative).
    """

    angles_deg: FloatArray
    centres_mm: FloatArray
    outward: FloatArray
    inner_mm: FloatArray
    outer_mm: FloatArray


def scala_sections(scala_tympani: SurfaceMesh, modiolus: SurfaceMesh, step_deg: float = 4.0) -> ScalaSections:
    """Cut the scala tympani by the angle its vertices carry.

    Args:
        scala_tympani: surface in canonical ijk with `angle_deg`.
        modiolus: surface in canonical ijk; its middle marks the axis.
        step_deg: distance of sections.

    Raises:
        ValueError: when the scala carries no angles.
    """
    if "angle_deg" not in scala_tympani.point_data:
        raise ValueError("scala_tympani: expected point data angle_deg")
    vertices = scala_tympani.vertices * CANONICAL_SPACING_MM
    angle = np.asarray(scala_tympani.point_data["angle_deg"], dtype=np.float64)
    angles = np.arange(angle.min() + step_deg, angle.max() - step_deg, step_deg)
    chosen = [np.flatnonzero(np.abs(angle - at) < 2 * _SECTION_DEG) for at in angles]
    kept = [index for index, members in enumerate(chosen) if len(members) >= 6]
    angles, chosen = angles[kept], [chosen[index] for index in kept]
    centres = np.stack([vertices[members].mean(axis=0) for members in chosen])
    centres = gaussian_filter1d(centres, 1.5, axis=0, mode="nearest")
    outward = _outward(angles, centres, modiolus.vertices.mean(axis=0) * CANONICAL_SPACING_MM)
    inner, outer = [], []
    for members, centre, direction in zip(chosen, centres, outward, strict=True):
        radial = (vertices[members] - centre) @ direction
        # Means of the extreme sixths are steadier than single vertices.
        radial.sort()
        few = max(1, len(radial) // 6)
        inner.append(radial[:few].mean())
        outer.append(radial[-few:].mean())
    smooth = (gaussian_filter1d(np.array(wall), 2.0, mode="nearest") for wall in (inner, outer))
    return ScalaSections(angles, centres, outward, *smooth)


def _outward(angles: FloatArray, centres: FloatArray, middle: FloatArray) -> FloatArray:
    """Give unit vectors away from the modiolar axis.

    The axis runs through the middle of the modiolus along the area vector of the first turn, which for a flat spiral is
    the normal of its plane.
    """
    turn = centres[angles <= angles[0] + 360.0]
    normal = np.cross(turn - middle, np.roll(turn, -1, axis=0) - middle).sum(axis=0)
    normal /= np.linalg.norm(normal)
    radial = centres - middle
    radial -= np.outer(radial @ normal, normal)
    radial = gaussian_filter1d(radial / np.linalg.norm(radial, axis=1, keepdims=True), 1.0, axis=0, mode="nearest")
    return np.asarray(radial / np.linalg.norm(radial, axis=1, keepdims=True))


def insert_array(
    meshes: Mapping[str, SurfaceMesh], rng: np.random.Generator, design: ArrayDesign | None = None
) -> ElectrodeArray:
    """Place an array in an ear.

    Args:
        meshes: the ear's structures in canonical ijk (a left ear), at least scala tympani (with `angle_deg`) and
            modiolus.
        rng: source of randomness.
        design: the array, or None to draw one.
    """
    design = design or DESIGNS[int(rng.integers(len(DESIGNS)))]
    sections = scala_sections(meshes[SCALA_TYMPANI.id], meshes[MODIOLUS.id])
    path, angles = _path(sections, design, rng)
    length = _arc_length(path)
    entry = float(np.interp(sections.angles_deg[0], angles, length))
    deepest = float(np.interp(rng.normal(design.angle_deg, 45.0), angles, length))
    depth = min(entry + design.inserted_mm * rng.normal(1.0, 0.08), deepest)
    at = np.asarray(depth - design.tip_mm - design.pitch_mm * np.arange(design.contacts), dtype=np.float64)
    at = at[at > 0.5]
    contacts = _along(path, length, at)
    foil = float(np.exp(rng.uniform(np.log(0.015), np.log(0.12))))
    pieces, volumes, widths = _contact_pieces(path, length, at, design.area_mm2 * foil)
    wires, wire_volumes = _wire_pieces(path, length, at)
    return ElectrodeArray(
        design=design,
        contacts_ijk=contacts / CANONICAL_SPACING_MM,
        pieces_ijk=np.concatenate([pieces, wires]) / CANONICAL_SPACING_MM,
        pieces_mm3=np.concatenate([volumes, wire_volumes]),
        pieces_sigma_mm=np.concatenate([widths, np.full(len(wires), _WIRE_SIGMA_MM)]),
        insertion_deg=float(np.interp(depth, length, angles)),
    )


def _path(sections: ScalaSections, design: ArrayDesign, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Give the course of the array in mm, (n, 3) from the lead to the apex, and the angle at each point."""
    gap = design.radius_mm + 0.1
    if design.placement == "lateral":
        radial = np.maximum(sections.outer_mm - gap, 0.0)
    elif design.placement == "perimodiolar":
        radial = np.minimum(sections.inner_mm + design.radius_mm + rng.uniform(0.1, 0.4), 0.0)
    else:
        radial = np.zeros_like(sections.inner_mm)
    # The array enters through the middle of the round window and reaches its wall within the first 40 degrees.
    radial = radial * np.clip((sections.angles_deg - sections.angles_deg[0]) / 40.0, 0.0, 1.0)
    wander = gaussian_filter1d(rng.standard_normal((len(radial), 3)), 8.0, axis=0, mode="nearest")
    wander *= rng.uniform(0.03, 0.12) / max(float(wander.std()), 1e-9)
    course = sections.centres_mm + radial[:, None] * sections.outward + wander
    backwards = course[0] - course[3]
    backwards /= np.linalg.norm(backwards)
    leave = _LEAD_DIRECTION + rng.normal(0.0, 0.12, 3)
    distance = np.arange(_LEAD_MM, 0.0, -0.5)
    blend = np.clip(distance / 5.0, 0.0, 1.0)[:, None]
    direction = (1 - blend) * backwards + blend * leave / np.linalg.norm(leave)
    lead = course[0] + distance[:, None] * direction
    joined = np.concatenate([lead, course])
    outer_angles = np.linspace(sections.angles_deg[0] - 60, sections.angles_deg[0] - 1, len(lead))
    angles = np.concatenate([outer_angles, sections.angles_deg])
    length = _arc_length(joined)
    even = np.arange(0.0, length[-1], _PATH_STEP_MM)
    fine = gaussian_filter1d(_along(joined, length, even), 4.0, axis=0, mode="nearest")
    return fine, np.interp(even, length, angles)


def _arc_length(path: FloatArray) -> FloatArray:
    """Give the length along a polyline at each of its points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def _along(path: FloatArray, length: FloatArray, at: npt.ArrayLike) -> FloatArray:
    """Give points at given lengths along a polyline."""
    return np.stack([np.interp(np.asarray(at), length, path[:, axis]) for axis in range(3)], axis=-1)


def _contact_pieces(
    path: FloatArray, length: FloatArray, at: FloatArray, volume_mm3: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Divide every contact into three lumps along the array."""
    spread = np.concatenate([at - 0.14, at, at + 0.14])
    points = _along(path, length, spread)
    return points, np.full(len(points), volume_mm3 / 3.0), np.full(len(points), _CONTACT_SIGMA_MM)


def _wire_pieces(path: FloatArray, length: FloatArray, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Run one wire from each contact back along the array and the lead; lumps every 0.25 mm."""
    step = 0.25
    where = np.arange(0.0, float(at.max()), step)
    wires = (at[None, :] > where[:, None]).sum(axis=1)
    volume = wires * np.pi * _WIRE_RADIUS_MM**2 * step
    return _along(path, length, where), volume
