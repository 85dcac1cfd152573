"""Where on the patient's surface the points of the atlas are drawn, and how much each such draw is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from model.meshes.mesh import FloatArray
from model.surface_registration.cloud import SurfaceCloud


@dataclass(frozen=True)
class PairRule:
    """How points are paired.

    Attributes:
        reach_mm: distance at which a pair has lost three quarters of its weight.
        along: part of the way along the surface that is gone towards a partner; all of the way across it is.
        normal_mm: distance that a reversed normal counts as twice of, so that the walls of a thin canal do not mix.
    """

    reach_mm: float
    along: float
    normal_mm: float = 1.5


@dataclass(frozen=True)
class Pulls:
    """What draws on points of the atlas.

    Attributes:
        steps: (N, 3) where each point should go from where it is, mm.
        weights: (N,) how much that counts; zero where nothing is known.
    """

    steps: FloatArray
    weights: FloatArray


class Patient:
    """The patient's surface, made ready for being searched by position and normal."""

    def __init__(self, cloud: SurfaceCloud, normal_mm: float) -> None:
        """Build the search tree."""
        self.cloud = cloud
        self.features = np.hstack([cloud.points, normal_mm * cloud.normals])
        self.tree = cKDTree(self.features)
        self.normal_mm = normal_mm


def find_pulls(points: FloatArray, normals: FloatArray, areas: FloatArray, patient: Patient, rule: PairRule) -> Pulls:
    """Pair points of the atlas with the patient's surface in both directions and sum what each point is drawn by.

    A pair counts less the further apart its points are (Geman-McClure weights) and the less their normals agree, and
    not at all where the patient's surface ends: beyond its rim nothing is known of it. A point of the patient draws on
    the atlas only if the atlas point it finds finds something near it in turn, which stray pieces fail.

    Args:
        points: (N, 3) points of the atlas where they are now, mm.
        normals: (N, 3) their unit normals.
        areas: (N,) the area each stands for; only the ratios matter.
        patient: the surface to pair with.
        rule: how.

    Source: closest points with robust weights and rims left out, as in Amberg, Romdhani and Vetter, "Optimal step
    nonrigid ICP algorithms for surface registration", CVPR 2007; weights of Geman and McClure (1987).
    """
    features = np.hstack([points, patient.normal_mm * normals])
    to_patient = patient.tree.query(features)[1]
    to_atlas = cKDTree(features).query(patient.features)[1]
    every, each = np.arange(len(points)), np.arange(len(to_atlas))
    forward = _pull(points, normals, every, to_patient, patient.cloud, rule)
    backward = _pull(points, normals, to_atlas, each, patient.cloud, rule)
    astray = np.linalg.norm(patient.cloud.points[to_patient[to_atlas]] - patient.cloud.points, axis=1)
    forward_weights = forward.weights * areas / areas.sum()
    backward_weights = backward.weights * (astray < 2 * rule.reach_mm) / len(each)
    weights = forward_weights + np.bincount(to_atlas, backward_weights, len(points))
    weighted = forward.steps * forward_weights[:, None]
    for axis in range(3):
        weighted[:, axis] += np.bincount(to_atlas, backward_weights * backward.steps[:, axis], len(points))
    return Pulls(weighted / np.maximum(weights, 1e-300)[:, None], weights)


def _pull(
    points: FloatArray,
    normals: FloatArray,
    atlas: npt.NDArray[np.int64],
    patient: npt.NDArray[np.int64],
    cloud: SurfaceCloud,
    rule: PairRule,
) -> Pulls:
    """Give the step and the weight of single pairs, before areas."""
    offset, wall = cloud.points[patient] - points[atlas], cloud.normals[patient]
    across = np.einsum("nc,nc->n", offset, wall)[:, None] * wall
    agreement = np.clip(np.einsum("nc,nc->n", normals[atlas], wall), 0, None)
    nearness = 1 / (1 + (offset**2).sum(axis=1) / rule.reach_mm**2) ** 2
    return Pulls(across + rule.along * (offset - across), nearness * agreement * ~cloud.at_border[patient])
