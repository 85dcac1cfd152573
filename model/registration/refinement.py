"""Refinement of a registration on the image: the labyrinth's surface is drawn to the edge between lumen and bone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from model.meshes.mesh import SurfaceMesh
from model.registration.control_grid import bending, expand_all, sample_spanning

_NORMALS_EVERY = 5
_ADAM_EPS = 1e-6
"""Well above the rounding noise of the gradients, which Adam would otherwise scale up to whole steps."""


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
        stiffness: weight of the squared second differences of the field, voxels.
        restraint: weight of the squared displacement, voxels.
        metal_hu: HU from which a voxel counts as metal; the image within `metal_margin_mm` of it is not looked at.
        metal_margin_mm: see `metal_hu`.
        border_margin_mm: the image within this distance of the border of its field of view is not looked at either.
        fade_mm: beyond these margins the image counts more and more, and fully from this distance on.
    """

    levels: tuple[int, ...] = (4, 6, 10, 16)
    steps: int = 30
    learning_rate: float = 0.2
    depths_mm: tuple[float, ...] = (0.2, 0.4, 0.6)
    points: int = 4000
    contrast: float = 1.0
    full_edge: float = 1.5
    stiffness: float = 2.0
    restraint: float = 0.03
    metal_hu: float = 3000.0
    metal_margin_mm: float = 0.6
    border_margin_mm: float = 0.4
    fade_mm: float = 0.3


def refine(
    image: npt.NDArray[np.float32],
    trusted: npt.NDArray[np.float32],
    surface_ijk: SurfaceMesh,
    reliability: npt.NDArray[np.float32],
    spacing_mm: float,
    options: RefinementOptions,
) -> list[Tensor]:
    """Find the smooth field that draws a surface to where the image is darker inside than outside.

    Args:
        image: [I, J, K] crop, intensities in [-1, 1].
        trusted: [I, J, K] weight of the image, 0 where it says nothing (near the border, near metal), see `trust`.
        surface_ijk: the labyrinth as registered so far, crop voxels, outward.
        reliability: (N,) weight of each vertex, 0 to 1, see `edge_reliability`.
        spacing_mm: voxel of the crop.
        options: how the refinement runs.

    Returns:
        One (3, g, g, g) control grid per level, crop voxels, over the crop: a point x of the registered atlas moves to
        x + field(x).
    """
    stack = torch.from_numpy(np.stack([image, trusted]))
    vertices = torch.from_numpy(surface_ijk.vertices).float()
    triangles = torch.from_numpy(surface_ijk.triangles.astype(np.int64))
    depths = torch.tensor(options.depths_mm) / spacing_mm
    weight = _vertex_areas(vertices, triangles) * torch.from_numpy(reliability)
    scene = _Scene(stack, image.shape, vertices, triangles, weight, depths)
    coefficients = [torch.zeros(3, g, g, g, requires_grad=True) for g in options.levels]
    generator = torch.Generator().manual_seed(0)
    with _one_thread():
        for stage in range(1, len(coefficients) + 1):
            _run_stage(coefficients[:stage], scene, generator, options)
    return [level.detach() for level in coefficients]


def edge_reliability(
    atlas_image: npt.NDArray[np.float32], surface_ijk: SurfaceMesh, spacing_mm: float, options: RefinementOptions
) -> npt.NDArray[np.float32]:
    """Give how far each vertex of the atlas's labyrinth lies on an edge from dark to bright that can be followed.

    Towards the modiolus, at the windows and where a label was filled, the surface is no such edge even in the mean
    image; drawing it to what happens to be dark there would pull the inside of the cochlea along.

    Args:
        atlas_image: [I, J, K] mean image, intensities in [-1, 1].
        surface_ijk: the atlas's labyrinth, crop voxels, outward.
        spacing_mm: voxel of the crop.
        options: for the depths and the contrast.

    Returns:
        (N,) float32: 0 where the inside is not darker than the outside, 1 from `full_edge` on.
    """
    vertices = torch.from_numpy(surface_ijk.vertices).float()
    normals = _normals(vertices, torch.from_numpy(surface_ijk.triangles.astype(np.int64)))
    stack = torch.from_numpy(atlas_image[None])
    step = torch.zeros(len(vertices))
    for depth in options.depths_mm:
        offset = depth / spacing_mm * normals
        outside = sample_spanning(stack, vertices + offset, atlas_image.shape)[:, 0]
        inside = sample_spanning(stack, vertices - offset, atlas_image.shape)[:, 0]
        step += (outside - inside) / len(options.depths_mm)
    return np.asarray((step / options.full_edge).clamp(0, 1).numpy(), dtype=np.float32)


def trust(
    depth_mm: npt.NDArray[np.float32], metal: npt.NDArray[np.bool_], spacing_mm: float, options: RefinementOptions
) -> npt.NDArray[np.float32]:
    """Give how far the image can be believed: well inside the field of view and away from metal.

    The weight fades in over `fade_mm`: one that jumped would let the rounding of a header decide which voxels count.

    Args:
        depth_mm: [I, J, K] distance to the border of the field of view, negative outside.
        metal: [I, J, K] voxels that hold metal.
        spacing_mm: voxel of the crop.
        options: for the margins.

    Returns:
        [I, J, K] float32 from 0 to 1.
    """
    weight = np.clip((depth_mm - options.border_margin_mm) / options.fade_mm, 0, 1)
    if metal.any():
        away = distance_transform_edt(~metal, sampling=spacing_mm)
        weight = weight * np.clip((away - options.metal_margin_mm) / options.fade_mm, 0, 1)
    return np.asarray(weight, dtype=np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: the steps are many and small, and threads that wait for each other cost more than they do.

    On two cores with other work, two threads took 95 s where one took 3 s.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Scene:
    """What stays the same while the field is sought: image with trust (2, I, J, K), crop voxels, surface, depths."""

    stack: Tensor
    grid: tuple[int, ...]
    vertices: Tensor
    triangles: Tensor
    weight: Tensor
    depths: Tensor

    def normals(self, field: Tensor) -> Tensor:
        """Give the outward normals of the surface moved by a field."""
        with torch.no_grad():
            return _normals(self.vertices + sample_spanning(field, self.vertices, self.grid), self.triangles)


def _run_stage(free: list[Tensor], scene: _Scene, generator: torch.Generator, options: RefinementOptions) -> None:
    """Improve the freed control grids in place."""
    optimiser = torch.optim.Adam(free, lr=options.learning_rate, eps=_ADAM_EPS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps, options.learning_rate / 20)
    samples = (2 * max(options.levels),) * 3
    normals = scene.vertices
    for step in range(options.steps):
        field = expand_all(free, samples)
        if step % _NORMALS_EVERY == 0:
            normals = scene.normals(field)
        chosen = torch.randint(len(scene.vertices), (options.points,), generator=generator)
        moved = scene.vertices[chosen] + sample_spanning(field, scene.vertices[chosen], scene.grid)
        loss = (
            _edge_loss(scene, moved, normals[chosen], scene.weight[chosen], options.contrast)
            + options.stiffness * bending(field)
            + options.restraint * field.square().sum(0).mean()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _edge_loss(scene: _Scene, moved: Tensor, normals: Tensor, weight: Tensor, contrast: float) -> Tensor:
    """Give the weighted mean of inside minus outside, each pair limited to the stated contrast."""
    stack, depths, grid = scene.stack, scene.depths, scene.grid
    offsets = depths[:, None, None] * normals[None]
    inside = sample_spanning(stack, (moved[None] - offsets).reshape(-1, 3), grid).unflatten(0, (len(depths), -1))
    outside = sample_spanning(stack, (moved[None] + offsets).reshape(-1, 3), grid).unflatten(0, (len(depths), -1))
    step = contrast * torch.tanh((inside[..., 0] - outside[..., 0]) / contrast)
    trusted = weight * (inside[..., 1] * outside[..., 1]).detach()
    loss: Tensor = (trusted * step).sum() / weight.sum().clamp(min=1e-6) / len(depths)
    return loss


def _normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Give (N, 3) outward unit normals."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(0, triangles[:, corner], faces)
    unit: Tensor = torch.nn.functional.normalize(normals, dim=1)
    return unit


def _vertex_areas(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Give (N,) areas of the surface that each vertex stands for."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6
    areas = vertices.new_zeros(len(vertices))
    for corner in range(3):
        areas.index_add_(0, triangles[:, corner], faces)
    return areas
