"""Cross-sections of the scala tympani, by the angle along the cochlea that its vertices carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from model.meshes.mesh import SurfaceMesh
from model.synthesis.grid import CANONICAL_SPACING_MM, FloatArray

_SECTION_DEG = 4.0


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
