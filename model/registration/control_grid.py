"""Smooth displacement fields as sums of cubic B-splines on control grids, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEVELS: tuple[int, ...] = (4, 6, 10, 16, 24)
"""Control points per axis of each level, coarse to fine."""


def bspline_basis(samples: int, controls: int) -> Tensor:
    """Give the cubic B-spline basis of one axis.

    Args:
        samples: number of equally spaced samples, from the first to the last voxel centre of the crop.
        controls: number of control points; `controls - 3` knot intervals span the axis.

    Returns:
        (samples, controls) float32 weights; rows sum to one, and linear coefficients give a linear function.

    Source: uniform cubic B-spline (Rueckert et al., IEEE TMI 18 (1999) 712, equation 2).
    """
    if controls < 4:
        raise ValueError(f"controls: expected at least 4, found {controls}")
    position = torch.linspace(0, controls - 3, samples, dtype=torch.float64)
    cell = position.floor().clamp(max=controls - 4)
    t = position - cell
    weights = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3],
        dim=1,
    )
    basis = torch.zeros(samples, controls, dtype=torch.float64)
    basis.scatter_(1, cell.long()[:, None] + torch.arange(4), weights / 6)
    return basis.float()


def expand(coefficients: Tensor, shape: Sequence[int]) -> Tensor:
    """Evaluate one control grid on a dense grid spanning the crop.

    Args:
        coefficients: (C, g, g, g) control coefficients, any unit.
        shape: samples along each axis, from the first to the last voxel centre of the crop.

    Returns:
        (C, I, J, K) field in the unit of the coefficients.
    """
    basis_i, basis_j, basis_k = (
        bspline_basis(samples, controls).to(coefficients)
        for samples, controls in zip(shape, coefficients.shape[1:], strict=True)
    )
    along_jk = basis_j @ (coefficients @ basis_k.T)
    dense: Tensor = (basis_i @ along_jk.flatten(2)).unflatten(2, along_jk.shape[2:])
    return dense


def expand_all(levels: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Evaluate the sum of several control grids on a dense grid; see `expand`.

    Raises:
        ValueError: when there is no level.
    """
    if not levels:
        raise ValueError("levels: expected at least one control grid")
    total = expand(levels[0], shape)
    for level in levels[1:]:
        total = total + expand(level, shape)
    return total


def sample_spanning(field: Tensor, points_ijk: Tensor, grid: Sequence[int]) -> Tensor:
    """Interpolate a field whose samples span the crop at points given in crop voxels.

    Args:
        field: (C, A, B, D) samples from the first to the last voxel centre of the crop along each axis.
        points_ijk: (N, 3) points in crop voxels; points outside the crop take the value at its border.
        grid: voxels of the crop along each axis.

    Returns:
        (N, C) values.
    """
    size = torch.tensor([n - 1 for n in grid], dtype=points_ijk.dtype, device=points_ijk.device)
    unit = points_ijk / size * 2 - 1
    # grid_sample orders coordinates from the last axis to the first.
    location = unit.flip(-1)[None, None, None].to(field.dtype)
    values = torch.nn.functional.grid_sample(
        field[None], location, mode="bilinear", padding_mode="border", align_corners=True
    )
    return values[0, :, 0, 0].T


def bending(field: Tensor) -> Tensor:
    """Give how much a field bends: the mean squared second difference over its three axes.

    Args:
        field: (C, A, B, D) samples, any unit.

    Returns:
        A number in the squared unit of the field.
    """
    total = field.new_zeros(())
    for axis in (1, 2, 3):
        total = total + field.diff(n=2, dim=axis).square().sum(0).mean()
    return total
