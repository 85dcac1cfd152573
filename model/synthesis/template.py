"""What the renderer knows of the atlas: signed distances of its structures, computed once and reused for every ear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH, MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI, STRUCTURE_IDS
from model.synthesis.distance import signed_distance_mm
from model.synthesis.grid import CANONICAL_SPACING_MM, Float32Array, RenderGrid
from model.synthesis.splines import linear_upsampling, upsample

_CAP_ANGLE_DEG = 170.0
_CAP_REACH_MM = 0.9


@dataclass(frozen=True)
class TissueTemplate:
    """Fields on the canonical crop of the atlas.

    Attributes:
        fields: (5, 128, 128, 128) float32. 0 to 3: signed distances in mm, negative inside, of labyrinth, modiolus,
            scala tympani and scala vestibuli. 4: 0..1, how far a place belongs to the upper turns of the cochlea, where
            what is neither scala nor modiolus is thin bone (clinical labels fill it); elsewhere it is fluid.
    """

    fields: Float32Array


def check_atlas(atlas: Mapping[str, SurfaceMesh]) -> None:
    """Check that an atlas can be rendered.

    Raises:
        ValueError: when a structure is missing, lies in another space, or a scala carries no `angle_deg`.
    """
    missing = [structure for structure in STRUCTURE_IDS if structure not in atlas]
    if missing:
        raise ValueError(f"atlas: expected the structures {', '.join(STRUCTURE_IDS)}, missing {', '.join(missing)}")
    for structure, mesh in atlas.items():
        if mesh.space != "ijk":
            raise ValueError(f"atlas: expected {structure} in canonical ijk, found {mesh.space}")
    for scala in (SCALA_TYMPANI.id, SCALA_VESTIBULI.id):
        if "angle_deg" not in atlas[scala].point_data:
            raise ValueError(f"atlas: expected point data angle_deg of {scala}")


def build_template(atlas: Mapping[str, SurfaceMesh]) -> TissueTemplate:
    """Compute the template of an atlas (some seconds).

    Args:
        atlas: structure id to closed surface in canonical ijk; the scalae carry `angle_deg`.

    Raises:
        ValueError: when the atlas cannot be rendered.
    """
    check_atlas(atlas)
    grid = RenderGrid(1)
    distances = [
        signed_distance_mm(atlas[structure.id], grid)
        for structure in (LABYRINTH, MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI)
    ]
    return TissueTemplate(np.stack([*distances, _septa(atlas, grid)]))


def _septa(atlas: Mapping[str, SurfaceMesh], grid: RenderGrid) -> Float32Array:
    """Mark the upper turns: places whose nearest point of a scala lies beyond half a turn."""
    scalae = [atlas[SCALA_TYMPANI.id], atlas[SCALA_VESTIBULI.id]]
    vertices = np.concatenate([scala.vertices for scala in scalae])
    angles = np.concatenate([scala.point_data["angle_deg"] for scala in scalae])
    upper = cKDTree(vertices[angles > _CAP_ANGLE_DEG] * CANONICAL_SPACING_MM)
    lower = cKDTree(vertices[angles <= _CAP_ANGLE_DEG] * CANONICAL_SPACING_MM)
    coarse = RenderGrid(2)
    points = coarse.points().reshape(3, -1).T * CANONICAL_SPACING_MM
    to_upper, _ = upper.query(points, distance_upper_bound=_CAP_REACH_MM)
    to_lower, _ = lower.query(points, distance_upper_bound=_CAP_REACH_MM)
    marked = (to_upper < _CAP_REACH_MM) & (to_upper < to_lower)
    smooth = gaussian_filter(marked.reshape((coarse.size,) * 3).astype(np.float32), 0.7)
    weights = linear_upsampling(coarse.centres, grid.centres)
    return np.asarray(np.clip(upsample(smooth[None], weights, weights, weights)[0], 0.0, 1.0), dtype=np.float32)
