"""Refinement of a registration on the image: the labyrinth's surface is drawn to the edge between lumen and bone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.meshes.mesh import SurfaceMesh
from model.registration.control_grid import bending, expand_all, sample_spanning
from model.registration.edges import edge_loss, triangles_of, vertex_areas, vertex_normals
from model.registration.refinement_options import RefinementOptions

_NORMALS_EVERY = 5
_ADAM_EPS = 1e-6
"""Well above the rounding noise of the gradients, which Adam would otherwise scale up to whole steps."""
_FEWEST_SAMPLES, _MOST_SAMPLES = 16, 48
"""Samples of the field along each axis while it is sought; twice the control points in between."""


def refine(
    image: npt.NDArray[np.float32],
    trusted: npt.NDArray[np.float32],
    surface_ijk: SurfaceMesh,
    reliability: npt.NDArray[np.float32],
    held_ijk: npt.NDArray[np.float32],
    spacing_mm: float,
    options: RefinementOptions,
) -> list[Tensor]:
    """Find the smooth field that draws a surface to where the image is darker inside than outside.

    Args:
        image: [I, J, K] crop, intensities in [-1, 1].
        trusted: [I, J, K] weight of the image, 0 where it says nothing (near the border, near metal), see `trust`.
        surface_ijk: the labyrinth as registered so far, crop voxels, outward.
        reliability: (N,) weight of each vertex, 0 to 1, see `edge_reliability`.
        held_ijk: (M, 3) points that should rather stay, crop voxels: vertices of structures within the cochlea, whose
            own edges hardly show, and which the fields of a surface beside them would drag along.
        spacing_mm: voxel of the crop.
        options: how the refinement runs.

    Returns:
        One (3, g, g, g) control grid per level, crop voxels, over the crop: a point x of the registered atlas moves to
        x + field(x).
    """
    depths = torch.tensor(options.depths_mm) / spacing_mm
    scene = _Scene.of(image, trusted, surface_ijk, reliability, held_ijk, depths)
    coefficients = [torch.zeros(3, g, g, g, requires_grad=True) for g in options.levels]
    generator = torch.Generator().manual_seed(0)
    with _one_thread():
        for stage in range(1, len(coefficients) + 1):
            _run_stage(coefficients[:stage], scene, generator, options)
    return [level.detach() for level in coefficients]


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
    """What stays the same while the field is sought, as tensors; places in crop voxels."""

    stack: Tensor  # (2, I, J, K): image, trust
    vertices: Tensor
    triangles: Tensor
    weights: Tensor
    held: Tensor
    depths: Tensor

    @classmethod
    def of(
        cls,
        image: npt.NDArray[np.float32],
        trusted: npt.NDArray[np.float32],
        surface: SurfaceMesh,
        reliability: npt.NDArray[np.float32],
        held: npt.NDArray[np.float32],
        depths: Tensor,
    ) -> _Scene:
        """Put it together; see `refine`."""
        vertices, triangles = torch.from_numpy(surface.vertices).float(), triangles_of(surface)
        return cls(
            stack=torch.from_numpy(np.stack([image, trusted])),
            vertices=vertices,
            triangles=triangles,
            weights=vertex_areas(vertices, triangles) * torch.from_numpy(reliability),
            held=torch.from_numpy(held),
            depths=depths,
        )

    def moved(self, points: Tensor, field: Tensor) -> Tensor:
        """Carry (P, 3) points by a field over the crop."""
        return points + sample_spanning(field, points, self.stack.shape[1:])

    def normals(self, field: Tensor) -> Tensor:
        """Give the outward normals of the surface moved by a field."""
        with torch.no_grad():
            return vertex_normals(self.moved(self.vertices, field), self.triangles)


def _run_stage(free: list[Tensor], scene: _Scene, generator: torch.Generator, options: RefinementOptions) -> None:
    """Improve the freed control grids in place."""
    optimiser = torch.optim.Adam(free, lr=options.learning_rate, eps=_ADAM_EPS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps, options.learning_rate / 20)
    samples = min(max(2 * free[-1].shape[-1], _FEWEST_SAMPLES), _MOST_SAMPLES)
    # From differences between samples to derivatives by voxels.
    per_voxel = ((samples - 1) / (max(scene.stack.shape[1:]) - 1)) ** 4
    normals = scene.vertices
    for step in range(options.steps):
        field = expand_all(free, (samples,) * 3)
        if step % _NORMALS_EVERY == 0:
            normals = scene.normals(field)
        loss = (
            _edges(scene, field, normals, generator, options)
            + options.stiffness * per_voxel * bending(field)
            + options.restraint * field.square().sum(0).mean()
            + options.hold * _held_back(scene, field)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _edges(
    scene: _Scene, field: Tensor, normals: Tensor, generator: torch.Generator, options: RefinementOptions
) -> Tensor:
    """Give the edge loss at vertices drawn at random."""
    chosen = torch.randint(len(scene.vertices), (options.points,), generator=generator)
    moved = scene.moved(scene.vertices[chosen], field)
    return edge_loss(scene.stack, moved, normals[chosen], scene.weights[chosen], scene.depths, options.contrast)


def _held_back(scene: _Scene, field: Tensor) -> Tensor:
    """Give the mean squared displacement of the held points; 0 when there are none."""
    if not len(scene.held):
        return field.new_zeros(())
    squared: Tensor = sample_spanning(field, scene.held, scene.stack.shape[1:]).square().sum(1)
    return squared.mean()
