"""Electrode arrays: where the metal of a cochlear implant lies in a given ear.

The array follows the scala tympani, whose vertices carry the angle along the cochlea: each angle gives a cross-section
with a centre, an outer and an inner wall. It enters through the round window; its lead runs back through the middle ear
and the mastoid towards the receiver, whose case lies beyond the crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from model.meshes.mesh import SurfaceMesh
from model.structures import MODIOLUS, SCALA_TYMPANI
from model.synthesis.designs import ArrayDesign, draw_design
from model.synthesis.grid import CANONICAL_SPACING_MM, FloatArray
from model.synthesis.sections import ScalaSections, scala_sections

_LEAD_DIRECTION = np.array([0.67, 0.32, 0.67])
_LEAD_MM = 30.0
_PATH_STEP_MM = 0.1
_CONTACT_SIGMA_MM = 0.12
_WIRE_SIGMA_MM = 0.10
_WIRE_RADIUS_MM = 0.0125
_WIRE_STEP_MM = 0.25
_FOIL_MM = (0.015, 0.080)
_WALL_MM = 0.15


@dataclass(frozen=True)
class ElectrodeArray:
    """An inserted array, positions in canonical ijk.

    Attributes:
        design: the kind of array.
        contacts_ijk: (n, 3) contact centres, the most apical first; where a channel is a pair, its middle.
        inside: (n,) bool, contacts beyond the round window.
        pieces_ijk: (m, 3) small lumps of platinum that make up contacts and wires.
        pieces_mm3: (m,) platinum volume of each lump.
        pieces_sigma_mm: (m,) width of each lump.
        course_ijk: (p, 3) centre line of the carrier from the lead to the tip.
        insertion_deg: angle of the tip along the cochlea.
        inserted_mm: length of the array beyond the round window.
    """

    design: ArrayDesign
    contacts_ijk: FloatArray
    inside: npt.NDArray[np.bool_]
    pieces_ijk: FloatArray
    pieces_mm3: FloatArray
    pieces_sigma_mm: FloatArray
    course_ijk: FloatArray
    insertion_deg: float
    inserted_mm: float


def insert_array(
    meshes: Mapping[str, SurfaceMesh], rng: np.random.Generator, design: ArrayDesign | None = None
) -> ElectrodeArray:
    """Place an array in an ear.

    Args:
        meshes: the ear's structures in canonical ijk (a left ear), at least scala tympani (with `angle_deg`) and
            modiolus.
        rng: source of randomness.
        design: the array, or None to draw one.

    Raises:
        ValueError: when the scala carries no angles.
    """
    design = design or draw_design(rng)
    sections = scala_sections(meshes[SCALA_TYMPANI.id], meshes[MODIOLUS.id])
    path, angles = _path(sections, design, meshes[SCALA_TYMPANI.id], rng)
    length = _arc_length(path)
    entry = float(np.interp(sections.angles_deg[0], angles, length))
    deepest = float(np.interp(rng.normal(design.angle_deg, 45.0), angles, length))
    depth = min(entry + design.inserted_mm * rng.normal(1.0, 0.08), deepest)
    at = depth - design.offsets_mm
    foil = float(np.exp(rng.uniform(*np.log(_FOIL_MM))))
    pieces, volumes = _contact_pieces(path, length, at, design, foil)
    wires, wire_volumes = _wire_pieces(path, length, at)
    widths = [np.full(len(pieces), _CONTACT_SIGMA_MM), np.full(len(wires), _WIRE_SIGMA_MM)]
    return ElectrodeArray(
        design=design,
        contacts_ijk=_along(path, length, at) / CANONICAL_SPACING_MM,
        inside=np.asarray(at >= entry),
        pieces_ijk=np.concatenate([pieces, wires]) / CANONICAL_SPACING_MM,
        pieces_mm3=np.concatenate([volumes, wire_volumes]),
        pieces_sigma_mm=np.concatenate(widths),
        course_ijk=np.concatenate([path[length < depth], _along(path, length, [depth])]) / CANONICAL_SPACING_MM,
        insertion_deg=float(np.interp(depth, length, angles)),
        inserted_mm=depth - entry,
    )


def array_facts(array: ElectrodeArray) -> dict[str, Any]:
    """Give maker, model, depth and contacts of an array as plain JSON values."""
    return {
        "maker": array.design.maker,
        "model": array.design.model,
        "placement": array.design.placement,
        "contacts": len(array.contacts_ijk),
        "contacts_inserted": int(array.inside.sum()),
        "insertion_deg": round(array.insertion_deg, 1),
        "inserted_mm": round(array.inserted_mm, 2),
    }


def _path(
    sections: ScalaSections, design: ArrayDesign, scala_tympani: SurfaceMesh, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Give the course of the array in mm, (n, 3) from the lead to the apex, and the angle at each point."""
    if design.placement == "lateral":
        radial = np.maximum(sections.outer_mm - design.radius_mm - 0.1, 0.0)
    elif design.placement == "perimodiolar":
        radial = np.minimum(sections.inner_mm + design.radius_mm + rng.uniform(0.1, 0.4), 0.0)
    else:
        radial = np.zeros_like(sections.inner_mm)
    # The array enters through the middle of the round window and reaches its wall within the first 40 degrees.
    radial = radial * np.clip((sections.angles_deg - sections.angles_deg[0]) / 40.0, 0.0, 1.0)
    wander = gaussian_filter1d(rng.standard_normal((len(radial), 3)), 8.0, axis=0, mode="nearest")
    wander *= rng.uniform(0.03, 0.12) / max(float(wander.std()), 1e-9)
    course = sections.centres_mm + radial[:, None] * sections.outward + wander
    lead = _lead(course, rng)
    joined = np.concatenate([lead, course])
    outer_angles = np.linspace(sections.angles_deg[0] - 60, sections.angles_deg[0] - 1, len(lead))
    angles = np.concatenate([outer_angles, sections.angles_deg])
    length = _arc_length(joined)
    even = np.arange(0.0, length[-1], _PATH_STEP_MM)
    fine = gaussian_filter1d(_along(joined, length, even), 4.0, axis=0, mode="nearest")
    fine_angles = np.interp(even, length, angles)
    within = fine_angles >= sections.angles_deg[0]
    fine[within] = _pushed_inside(fine[within], scala_tympani)
    return fine, fine_angles


def _lead(course: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Give the lead in mm, from its far end to the round window: straight back at first, then with slack."""
    backwards = course[0] - course[3]
    backwards /= np.linalg.norm(backwards)
    leave = _LEAD_DIRECTION + rng.normal(0.0, 0.12, 3)
    distance = np.arange(_LEAD_MM, 0.0, -0.5)
    blend = np.clip(distance / 5.0, 0.0, 1.0)[:, None]
    direction = (1 - blend) * backwards + blend * leave / np.linalg.norm(leave)
    slack = gaussian_filter1d(rng.standard_normal((len(distance), 3)), 8.0, axis=0, mode="nearest")
    slack *= rng.uniform(0.2, 1.5) / max(float(slack.std()), 1e-9)
    return np.asarray(
        course[0] + distance[:, None] * direction + slack * np.clip(distance / 8.0 - 0.4, 0.0, 1.0)[:, None]
    )


def _pushed_inside(points_mm: FloatArray, scala_tympani: SurfaceMesh) -> FloatArray:
    """Push points that lie nearer than 0.15 mm to the wall, or beyond it, inwards along the wall's normals."""
    corners = scala_tympani.vertices[scala_tympani.triangles] * CANONICAL_SPACING_MM
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(normals, axis=1)
    middles, normals = corners[size > 0].mean(axis=1), normals[size > 0] / size[size > 0, None]
    tree = cKDTree(middles)
    moved = points_mm.copy()
    for _ in range(8):
        _, nearest = tree.query(moved)
        depth = np.einsum("ij,ij->i", middles[nearest] - moved, normals[nearest])
        moved -= np.clip(_WALL_MM - depth, 0.0, 0.3)[:, None] * normals[nearest]
    return moved


def _arc_length(path: FloatArray) -> FloatArray:
    """Give the length along a polyline at each of its points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def _along(path: FloatArray, length: FloatArray, at: npt.ArrayLike) -> FloatArray:
    """Give points at given lengths along a polyline."""
    return np.stack([np.interp(np.asarray(at), length, path[:, axis]) for axis in range(3)], axis=-1)


def _contact_pieces(
    path: FloatArray, length: FloatArray, at: FloatArray, design: ArrayDesign, foil_mm: float
) -> tuple[FloatArray, FloatArray]:
    """Divide every contact into three lumps along the array; pairs lie on both sides of the carrier."""
    spread = np.concatenate([at - 0.14, at, at + 0.14])
    points = _along(path, length, spread)
    volumes = np.full(len(points), design.area_mm2 * foil_mm / 3.0)
    paired = np.tile(np.arange(len(at)) >= len(at) - design.pairs, 3)
    tangent = _along(path, length, spread + 0.2) - _along(path, length, spread - 0.2)
    side = np.cross(tangent, [0.0, 0.0, 1.0])
    side *= 0.7 * design.radius_mm / np.clip(np.linalg.norm(side, axis=1, keepdims=True), 1e-9, None)
    opposite = points[paired] - side[paired]
    points[paired] += side[paired]
    return np.concatenate([points, opposite]), np.concatenate([volumes, volumes[paired]])


def _wire_pieces(path: FloatArray, length: FloatArray, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Run one wire from each contact back along the array and the lead; lumps every 0.25 mm."""
    where = np.arange(0.0, float(at.max()), _WIRE_STEP_MM)
    wires = (at[None, :] > where[:, None]).sum(axis=1)
    volume = wires * np.pi * _WIRE_RADIUS_MM**2 * _WIRE_STEP_MM
    return _along(path, length, where), volume
