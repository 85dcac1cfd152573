"""Composition of fields against moving points twice."""

from __future__ import annotations

import torch

from model.registration.compose import then_control_grids
from model.registration.control_grid import expand, expand_all, sample_spanning
from model.registration.warp import warp_vertices

GRID = (24, 28, 32)


def random_levels(size: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [size * torch.randn(3, g, g, g, generator=generator) for g in (4, 6)]


def voxel_centres() -> torch.Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in GRID), indexing="ij"), -1).reshape(-1, 3)


def test_one_composed_field_moves_points_as_both_in_turn() -> None:
    first = expand(6.0 * torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)), GRID)
    levels = random_levels(2.0)
    composed = then_control_grids(first, levels)
    points = voxel_centres()
    moved = points + first.flatten(1).T
    second = expand_all(levels, GRID)
    twice = moved + sample_spanning(second, moved, GRID)
    # The second field is read on half as many samples, which a smooth field hardly notices.
    assert (points + composed.flatten(1).T - twice).abs().max() < 0.1
    other_order = warp_vertices(points + sample_spanning(second, points, GRID), first)
    assert (other_order - twice).abs().max() > 0.5


def test_nothing_follows_or_goes_before() -> None:
    field = torch.randn(3, *GRID)
    nothing = [torch.zeros(3, 4, 4, 4)]
    torch.testing.assert_close(then_control_grids(field, nothing), field)
    shift = torch.tensor([1.0, -2.0, 0.5])
    constant = [shift[:, None, None, None].expand(3, 5, 5, 5)]
    followed = then_control_grids(torch.zeros(3, *GRID), constant)
    torch.testing.assert_close(followed.mean(dim=(1, 2, 3)), shift)


def test_each_channel_moves_its_own_axis() -> None:
    ramp = torch.zeros(3, 4, 4, 4)
    ramp[1] = torch.arange(4.0)[None, :, None] - 1.0
    followed = then_control_grids(torch.zeros(3, *GRID), [ramp])
    assert followed[[0, 2]].abs().max() < 1e-6
    torch.testing.assert_close(followed[1, 3, :, 5], torch.linspace(0, 1, GRID[1]), atol=1e-5, rtol=0)
