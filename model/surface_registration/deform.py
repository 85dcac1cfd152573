"""Coarse-to-fine deformation of one surface onto another: first fields of the space around it, then its vertices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, diags, eye_array

from model.meshes.mesh import FloatArray, SurfaceMesh
from model.meshes.smoothing import umbrella
from model.meshes.topology import vertex_normals
from model.surface_registration.cloud import SurfaceCloud
from model.surface_registration.pairs import PairRule, Patient, find_pulls
from model.surface_registration.spline_field import SplineField, symmetric_solver

_NODES = 5000
"""Vertices that fields are fitted to; fields are too smooth to need all of them."""
_PATIENT_POINTS = 10_000
"""At least so many points of the patient draw on the atlas."""


@dataclass(frozen=True)
class Stage:
    """One step from coarse to fine.

    Attributes:
        control_mm: distance of the field's control points.
        smooth_mm: length of what the field smooths away.
        rule: how points are paired.
        rounds: how often they are paired anew.
    """

    control_mm: float
    smooth_mm: float
    rule: PairRule
    rounds: int


STAGES: tuple[Stage, ...] = (
    Stage(6.0, 3.0, PairRule(reach_mm=2.0, along=1.0), 5),
    Stage(4.0, 2.0, PairRule(reach_mm=1.5, along=1.0), 5),
    Stage(3.0, 1.2, PairRule(reach_mm=1.2, along=1.0), 5),
    Stage(2.0, 0.8, PairRule(reach_mm=1.0, along=1.0), 5),
    Stage(1.5, 0.5, PairRule(reach_mm=0.8, along=0.5), 6),
)
"""Fields for inner ears, whose canals are 1 mm wide on a turn of 3 mm radius."""

FINISH = PairRule(reach_mm=0.3, along=0.1)
FINISH_SMOOTH_MM, FINISH_ROUNDS = 0.45, 8
ROUNDS = sum(stage.rounds for stage in STAGES) + FINISH_ROUNDS
"""Rounds of pairing altogether."""


def deform_onto(
    atlas_mm: SurfaceMesh, patient_mm: SurfaceMesh, progress: Callable[[float], None] = lambda _: None
) -> FloatArray:
    """Carry a surface onto another one that it lies close to.

    In every round points are paired anew and the whole displacement is fitted to what they ask for, first by fields of
    splines, whose stiffness falls from stage to stage, at last vertex by vertex, where the second differences of
    the displacement along the surface are kept small. Where the patient has a hole the atlas keeps its shape.

    Args:
        atlas_mm: closed surface, wound outward.
        patient_mm: surface of any triangulation, wound outward, possibly with holes and further pieces.
        progress: called with the fraction done.

    Returns:
        (N, 3) vertices of the atlas on the patient's surface.

    Source: falling stiffness after Amberg, Romdhani and Vetter, "Optimal step nonrigid ICP algorithms for surface
    registration", CVPR 2007, with free-form fields (Rueckert et al., IEEE TMI 18 (1999) 712) in the place of an affine
    map at every vertex: both walls of a canal then move together.
    """
    patient = Patient(SurfaceCloud.of(patient_mm).thinned(_PATIENT_POINTS), STAGES[0].rule.normal_mm)
    areas = vertex_areas(atlas_mm)
    # Vertex order often runs over the surface; a random choice spreads evenly.
    nodes = np.random.default_rng(0).permutation(len(areas))[:_NODES]
    vertices, done = atlas_mm.vertices, 0
    for stage in STAGES:
        field = SplineField.around(atlas_mm.vertices, stage.control_mm)
        for _ in range(stage.rounds):
            normals = vertex_normals(atlas_mm.with_vertices(vertices))[nodes]
            pulls = find_pulls(vertices[nodes], normals, areas[nodes], patient, stage.rule)
            wanted = vertices[nodes] + pulls.steps - atlas_mm.vertices[nodes]
            vertices = atlas_mm.vertices + field.fit(nodes, wanted, pulls.weights, stage.smooth_mm)
            done += 1
            progress(done / ROUNDS)
    return _finish(atlas_mm, vertices, areas, patient, lambda rounds: progress((done + rounds) / ROUNDS))


def _finish(
    atlas_mm: SurfaceMesh, start: FloatArray, areas: FloatArray, patient: Patient, progress: Callable[[int], None]
) -> FloatArray:
    """Bring every vertex onto the patient's surface, keeping the further displacement smooth along the surface."""
    corners = atlas_mm.vertices[atlas_mm.triangles]
    edge_mm = float(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).mean())
    difference = eye_array(len(start)) - umbrella(atlas_mm)
    stiffness = (FINISH_SMOOTH_MM / edge_mm) ** 4 * (difference.T @ difference)
    # A hair of ridge holds vertices that no triangle uses.
    stiffness += 1e-6 * eye_array(len(start))
    vertices = start
    for done in range(1, FINISH_ROUNDS + 1):
        normals = vertex_normals(atlas_mm.with_vertices(vertices))
        pulls = find_pulls(vertices, normals, areas, patient, FINISH)
        weights = pulls.weights * len(start)
        solver = symmetric_solver(csc_matrix(diags(weights) + stiffness))
        vertices = start + solver.solve(weights[:, None] * (vertices + pulls.steps - start))
        progress(done)
    return vertices


def vertex_areas(mesh_mm: SurfaceMesh) -> FloatArray:
    """Give (N,) a third of the area of the triangles at each vertex."""
    corners = mesh_mm.vertices[mesh_mm.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    thirds = np.repeat(np.linalg.norm(faces, axis=1) / 6, 3)
    return np.asarray(np.bincount(mesh_mm.triangles.ravel(), thirds, len(mesh_mm.vertices)))
