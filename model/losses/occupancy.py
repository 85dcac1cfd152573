"""How much of each voxel lies inside a closed surface, smooth in the surface's vertices.

The indicator function of a solid has a gradient only on its surface, where it points inward. Smoothed by a Gaussian, it
solves a Poisson equation whose right side is the divergence of the surface's normals, spread over the voxels around
them. The equation is solved by a Fourier transform, so the cost hardly depends on the number of triangles.

Source: Kazhdan, Symposium on Geometry Processing 2005, 73 (indicator function from normals by Fourier transform); Peng
et al., NeurIPS 2021, arXiv:2106.03452 (the same made differentiable).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from model.losses.precision import at_least_single

_MARGIN = 4
"""Empty samples kept around the surface, so that the periodic transform does not see its other side."""

# Three points inside a triangle; exact for quadratic functions (Strang and Fix, 1973).
_RULE = ((2 / 3, 1 / 6, 1 / 6), (1 / 6, 2 / 3, 1 / 6), (1 / 6, 1 / 6, 2 / 3))


def soft_occupancy(
    vertices_ijk: Tensor,
    triangles: Tensor,
    shape: Sequence[int],
    *,
    spacing: float = 1.0,
    softness: float = 0.8,
) -> Tensor:
    """Give the part of each voxel's neighbourhood that lies inside a closed surface.

    Args:
        vertices_ijk: (B, N, 3) positions in crop voxels.
        triangles: (M, 3) indices, counter-clockwise seen from outside; the surface is closed and its triangles are not
            much larger than `spacing`.
        shape: samples of the result along each axis.
        spacing: crop voxels between samples; sample (a, b, c) lies at spacing * (a, b, c).
        softness: standard deviation of the smoothing Gaussian, in samples; below 0.6 the surface's staircase shows.

    Returns:
        (B, *shape), 1 inside and 0 outside, passing through about a half on the surface over a few samples; sharp edges
        overshoot by a few hundredths. Its sum, over a grid that holds the whole surface, is the enclosed volume in
        samples. Differentiable by the vertices.

    Raises:
        ValueError: when the shapes do not fit, or a vertex lies farther outside the grid than the grid is long.
    """
    if vertices_ijk.ndim != 3 or vertices_ijk.shape[-1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(
            "expected vertices (B, N, 3) and triangles (M, 3), "
            f"found {tuple(vertices_ijk.shape)} and {tuple(triangles.shape)}"
        )
    positions = at_least_single(vertices_ijk) / spacing
    before, size = _padding(positions, shape)
    corners = positions[:, triangles] + torch.tensor(before, dtype=positions.dtype, device=positions.device)
    first, second, third = corners.unbind(dim=2)
    areas = torch.linalg.cross(second - first, third - first) / 2
    normals = _spread(corners, areas, size)
    # Divergence theorem: a third of the flux of the position.
    volume = (corners.mean(dim=2) * areas).sum(dim=(1, 2)) / 3
    filled = _solve(normals, volume, softness)
    crop = tuple(slice(start, start + n) for start, n in zip(before, shape, strict=True))
    result: Tensor = filled[(slice(None), *crop)]
    return result


def _padding(positions: Tensor, shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Give the samples to add before the grid and the size of the padded grid, along each axis."""
    lowest = positions.detach().amin(dim=(0, 1)).tolist()
    highest = positions.detach().amax(dim=(0, 1)).tolist()
    before, size = [], []
    for low, high, n in zip(lowest, highest, shape, strict=True):
        if not (-n <= low and high < 2 * n):
            raise ValueError(f"vertices: expected positions within one grid length of 0..{n}, found {low} to {high}")
        start = _MARGIN + max(0, int(-low) + 1)
        before.append(start)
        size.append(start + max(n, int(high) + 2) + _MARGIN)
    return before, size


def _spread(corners: Tensor, areas: Tensor, size: Sequence[int]) -> Tensor:
    """Spread (B, M, 3) area vectors of triangles with (B, M, 3, 3) corners over a grid: (B, 3, *size)."""
    batch = len(corners)
    points = torch.cat([(corners * corners.new_tensor(weights)[:, None]).sum(2) for weights in _RULE], dim=1)
    values = (areas / len(_RULE)).repeat(1, len(_RULE), 1)
    cells = points.detach().floor()
    upper = points - cells
    index = cells.long()
    grid = torch.zeros(batch * size[0] * size[1] * size[2], 3, dtype=points.dtype, device=points.device)
    first_of_case = torch.arange(batch, device=points.device)[:, None] * (size[0] * size[1] * size[2])
    for corner in product((0, 1), repeat=3):
        i, j, k = (index[..., axis] + step for axis, step in enumerate(corner))
        parts = [upper[..., axis] if step else 1 - upper[..., axis] for axis, step in enumerate(corner)]
        weighted = values * (parts[0] * parts[1] * parts[2])[..., None]
        place = first_of_case + (i * size[1] + j) * size[2] + k
        grid = grid.index_add(0, place.flatten(), weighted.flatten(0, 1))
    spread: Tensor = grid.unflatten(0, (batch, *size)).movedim(-1, 1)
    return spread


def _solve(normals: Tensor, volume: Tensor, softness: float) -> Tensor:
    """Give the smoothed indicator function whose gradient is minus the (B, 3, I, J, K) normals: (B, I, J, K)."""
    size = normals.shape[2:]
    dtype, device = normals.dtype, normals.device
    lines = [torch.fft.fftfreq(n, dtype=dtype, device=device) for n in size[:2]]
    lines.append(torch.fft.rfftfreq(size[2], dtype=dtype, device=device))
    waves = 2 * torch.pi * torch.stack(torch.meshgrid(*lines, indexing="ij"))
    squares = waves.square().sum(0)
    smoothing = torch.exp(-squares * softness**2 / 2)
    # The mean is not in the gradient; it is set below.
    inverse = torch.where(squares > 0, smoothing / squares.clamp(min=1e-12), torch.zeros_like(squares))
    spectrum = torch.fft.rfftn(normals, dim=(2, 3, 4))
    divergence = (spectrum * waves).sum(1) * 1j
    filled: Tensor = torch.fft.irfftn(divergence * inverse, s=size, dim=(1, 2, 3))
    return filled + (volume / filled[0].numel())[:, None, None, None]
