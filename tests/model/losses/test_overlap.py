"""Soft Dice against counted voxels; soft occupancy against an analytic ball, volumes and hard masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from surfaces import sphere
from torch import Tensor

from model.evaluation.overlap import dice
from model.losses.occupancy import soft_occupancy
from model.losses.overlap import dice_loss, soft_dice
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_dice_of_hard_masks_is_a_count_of_voxels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.random((2, 3, 4, 5, 6)) < 0.4 for _ in range(2))
    found = soft_dice(torch.from_numpy(first).float(), torch.from_numpy(second).float())
    expected = [[dice(a, b) for a, b in zip(one, other, strict=True)] for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    loss = dice_loss(torch.from_numpy(first).float(), torch.from_numpy(second).float())
    assert loss.item() == pytest.approx(1 - np.mean(expected), abs=1e-6)


def test_dice_gradient_grows_what_is_true_and_shrinks_what_is_not() -> None:
    first = torch.full((1, 1, 2, 2, 2), 0.5, dtype=torch.float64, requires_grad=True)
    second = torch.zeros(1, 1, 2, 2, 2, dtype=torch.float64)
    second[..., 0] = 1
    assert torch.autograd.gradcheck(lambda mask: dice_loss(mask, second), first)
    (gradient,) = torch.autograd.grad(dice_loss(first, second), first)
    assert gradient[..., 0].max() < 0 < gradient[..., 1].min()
    with pytest.raises(ValueError, match="one shape"):
        dice_loss(first, second[:, :, 1:])


def ball(radius: float, centre: tuple[float, float, float]) -> tuple[Tensor, Tensor, float]:
    """Vertices (1, N, 3), triangles and volume of a triangulated ball."""
    mesh = sphere(radius, centre, level=3)
    return torch.from_numpy(mesh.vertices)[None], torch.from_numpy(mesh.triangles).long(), mesh.signed_volume


def smoothed_ball(
    shape: tuple[int, int, int], radius: float, centre: tuple[float, float, float]
) -> npt.NDArray[np.float64]:
    """A ball smoothed by a Gaussian, in closed form.

    The Gaussian is that of the default softness, and the spreading over voxel corners adds the variance of a voxel.
    """
    sigma = np.sqrt(0.8**2 + 1 / 6)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    r = np.maximum(np.linalg.norm(grid - np.array(centre), axis=-1), 1e-6)
    near, far = (radius - r) / (sigma * np.sqrt(2)), (radius + r) / (sigma * np.sqrt(2))
    ring = sigma / (r * np.sqrt(2 * np.pi)) * (np.exp(-(near**2)) - np.exp(-(far**2)))
    return np.asarray((erf(near) + erf(far)) / 2 - ring)


def test_occupancy_of_a_ball_is_the_closed_form() -> None:
    shape, centre = (16, 18, 21), (7.3, 8.6, 11.2)
    vertices, triangles, volume = ball(5.2, centre)
    occupancy = soft_occupancy(vertices, triangles, shape)[0].numpy()
    np.testing.assert_allclose(occupancy, smoothed_ball(shape, 5.2, centre), atol=0.03)
    assert occupancy.sum() == pytest.approx(volume, rel=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.sampled_from([0.5, 1.0, 2.0]))
def test_volume_is_that_of_the_mesh_wherever_it_lies(shift: tuple[float, float, float], spacing: float) -> None:
    vertices, triangles, volume = ball(6 * spacing, tuple(spacing * (12 + s) for s in shift))  # type: ignore[arg-type]
    # An ellipsoid and its mirror image, not a ball: axes must not be mixed up.
    stretched = vertices * torch.tensor([1.0, 0.8, 0.6], dtype=torch.float64)
    occupancy = soft_occupancy(torch.cat([stretched, vertices]), triangles, (24, 24, 24), spacing=spacing)
    sums = occupancy.sum(dim=(1, 2, 3)) * spacing**3
    np.testing.assert_allclose(sums.numpy(), [0.48 * volume, volume], rtol=1e-2)


def test_hard_masks_are_the_half_of_the_occupancy() -> None:
    vertices, triangles, _ = ball(7.0, (12.4, 13.1, 14.2))
    vertices = (vertices - 13) * torch.tensor([1.3, 1.0, 0.7], dtype=torch.float64) + 13
    mask = voxelize(SurfaceMesh(vertices[0].numpy(), triangles.numpy(), "ijk"), (26, 27, 28))
    soft = soft_occupancy(vertices, triangles, (26, 27, 28))[0].numpy()
    assert dice(soft > 0.5, mask) > 0.97


def test_parts_outside_the_grid_do_not_come_back_on_the_other_side() -> None:
    vertices, triangles, _ = ball(5.0, (0.0, 10.0, 10.0))
    occupancy = soft_occupancy(vertices, triangles, (20, 20, 20))[0]
    whole = soft_occupancy(vertices + torch.tensor([10.0, 0, 0]), triangles, (30, 20, 20))[0]
    torch.testing.assert_close(occupancy, whole[10:], atol=5e-3, rtol=0)
    assert occupancy[10:].abs().max() < 1e-2
    with pytest.raises(ValueError, match="within one grid length"):
        soft_occupancy(vertices + 40.0, triangles, (20, 20, 20))


def test_gradient_of_the_volume_is_the_area_of_the_neighbours() -> None:
    vertices, triangles, _ = ball(4.0, (7.0, 7.0, 7.0))
    vertices.requires_grad_()
    (gradient,) = torch.autograd.grad(soft_occupancy(vertices, triangles, (15, 15, 15)).sum(), vertices)
    # Moving a vertex changes the volume by a third of the area vectors around it.
    corners = vertices.detach()[0, triangles]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    expected = torch.zeros_like(vertices[0]).index_add(0, triangles.flatten(), areas.repeat_interleave(3, 0) / 3)
    torch.testing.assert_close(gradient[0], expected, atol=1e-2 * expected.abs().max().item(), rtol=0)


def test_gradient_is_that_of_finite_differences() -> None:
    mesh = sphere(1.31, (2.9, 3.2, 3.1), level=0)
    vertices, triangles = torch.from_numpy(mesh.vertices)[None].requires_grad_(), torch.from_numpy(mesh.triangles)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 7, 6)))
    assert torch.autograd.gradcheck(
        lambda points: (soft_occupancy(points, triangles, (6, 7, 6)) * weights).sum(), vertices
    )


def test_dice_of_the_occupancy_pulls_a_shifted_surface_back() -> None:
    vertices, triangles, _ = ball(5.0, (9.0, 9.0, 9.0))
    goal = soft_occupancy(vertices, triangles, (18, 18, 18))[:, None]
    shift = torch.tensor([2.0, -1.5, 1.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.15)
    for _ in range(30):
        optimiser.zero_grad()
        dice_loss(soft_occupancy(vertices + shift, triangles, (18, 18, 18))[:, None], goal).backward()
        optimiser.step()
    assert shift.detach().abs().max() < 0.3
