"""Non-rigid fit of a template surface to a target surface by a smooth displacement field of the whole crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from model.meshes.mesh import SurfaceMesh
from model.registration.control_grid import LEVELS, bending, expand_all, sample_spanning

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FitOptions:
    """How a surface fit runs.

    Attributes:
        levels: control points per axis, coarse to fine; each stage frees one more level.
        steps: optimiser steps of each stage.
        learning_rate: Adam step, voxels.
        stiffness: weight of the squared second differences of the field, against squared distances in voxels.
        normal_weight: voxels that a reversed normal counts as, so that the two walls of a thin canal do not mix.
        points: points drawn from each surface at every step.
        field_samples: samples along each axis of the dense field during the fit.
        refresh: steps between two searches for corresponding points.
    """

    levels: tuple[int, ...] = LEVELS
    steps: int = 60
    learning_rate: float = 0.25
    stiffness: float = 4.0
    normal_weight: float = 4.0
    points: int = 5000
    field_samples: int = 48
    refresh: int = 4


@dataclass(frozen=True)
class SurfaceFit:
    """A fitted field.

    Attributes:
        coefficients: one (3, g, g, g) float32 control grid per level, voxels of the crop.
        vertices_ijk: (N, 3) template vertices after the fit, crop voxels.
        distance: mean distance both ways between the fitted template and the target, voxels.
    """

    coefficients: tuple[npt.NDArray[np.float32], ...]
    vertices_ijk: FloatArray
    distance: float


def vertex_normals(mesh: SurfaceMesh) -> FloatArray:
    """Give (N, 3) outward unit normals, weighted by triangle area."""
    corners = mesh.vertices[mesh.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(normals, mesh.triangles[:, corner], faces)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def fit_surface(
    template: SurfaceMesh, target: SurfaceMesh, grid: Sequence[int], *, seed: int, options: FitOptions | None = None
) -> SurfaceFit:
    """Find the smooth field that carries a template surface onto a target surface.

    Minimises the squared distances between corresponding points, found anew at every step in both directions among
    points with like normals, and the second differences of the field; levels are freed from coarse to fine.

    Args:
        template: closed surface in crop voxels.
        target: closed surface in crop voxels, any triangulation.
        grid: voxels of the crop along each axis.
        seed: of the points drawn.
        options: how the fit runs.

    Returns:
        The field and the moved vertices.

    Source: coarse-to-fine free-form deformation (Rueckert et al., IEEE TMI 18 (1999) 712) driven by iterative closest
    points with normals.
    """
    options = options or FitOptions()
    rng = np.random.default_rng(seed)
    points = torch.from_numpy(template.vertices).float()
    aim = _Target.of(target, options.normal_weight)
    coefficients = [torch.zeros(3, g, g, g, requires_grad=True) for g in options.levels]
    for stage in range(1, len(coefficients) + 1):
        _run_stage(coefficients[:stage], points, template, aim, grid, rng, options)
    with torch.no_grad():
        field = expand_all(coefficients, (options.field_samples,) * 3)
        moved_ijk = (points + sample_spanning(field, points, grid)).double().numpy()
    forward = cKDTree(aim.points).query(moved_ijk)[0].mean()
    backward = cKDTree(moved_ijk).query(aim.points)[0].mean()
    return SurfaceFit(
        coefficients=tuple(level.detach().numpy() for level in coefficients),
        vertices_ijk=moved_ijk,
        distance=float(forward + backward) / 2,
    )


@dataclass(frozen=True)
class _Target:
    """The target surface as it is searched: positions and weighted normals side by side."""

    points: FloatArray
    features: FloatArray
    tree: cKDTree

    @classmethod
    def of(cls, target: SurfaceMesh, normal_weight: float) -> _Target:
        """Make the search tree of a surface."""
        features = np.hstack([target.vertices, normal_weight * vertex_normals(target)])
        return cls(target.vertices, features, cKDTree(features))


def _run_stage(
    free: Sequence[Tensor],
    points: Tensor,
    template: SurfaceMesh,
    aim: _Target,
    grid: Sequence[int],
    rng: np.random.Generator,
    options: FitOptions,
) -> None:
    """Fit the freed control grids in place."""
    optimiser = torch.optim.Adam(free, lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps, options.learning_rate / 20)
    pairs = None
    for step in range(options.steps):
        field = expand_all(free, (options.field_samples,) * 3)
        moved = points + sample_spanning(field, points, grid)
        if pairs is None or step % options.refresh == 0:
            pairs = _closest_pairs(moved, template, aim, rng, options)
        from_template, onto, onto_template, from_target = pairs
        loss = (
            (moved[from_template] - onto).square().sum(1).mean()
            + (moved[onto_template] - from_target).square().sum(1).mean()
            + options.stiffness * bending(field)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _closest_pairs(
    moved: Tensor, template: SurfaceMesh, aim: _Target, rng: np.random.Generator, options: FitOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give template indices and the points closest to them, then the same for points drawn from the target."""
    current = moved.detach().double().numpy()
    normals = vertex_normals(template.with_vertices(current))
    some = rng.choice(len(current), min(options.points, len(current)), replace=False)
    features = np.hstack([current, options.normal_weight * normals])
    _, to_target = aim.tree.query(features[some])
    others = rng.choice(len(aim.points), min(options.points, len(aim.points)), replace=False)
    _, to_template = cKDTree(features).query(aim.features[others])
    return (
        torch.from_numpy(some),
        torch.from_numpy(aim.points[to_target]).float(),
        torch.from_numpy(to_template),
        torch.from_numpy(aim.points[others]).float(),
    )
