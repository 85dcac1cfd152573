"""Values of a field at points between voxel centres.

Two rules. `trilinear` is exact for linear fields. `published` reproduces the sampler through which the published models
were trained: it swaps the weights of axes 0 and 1, and it clamps points and cells one voxel inside the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from model.registration.rules import SamplerRule

_SMALLEST = {"trilinear": 2, "published": 4}


def sample_field(field: Tensor, points_ijk: Tensor, rule: SamplerRule = "trilinear") -> Tensor:
    """Interpolate a field at points.

    Args:
        field: (C, I, J, K), voxel centres at integers; or a batch (B, C, I, J, K).
        points_ijk: (N, 3) finite positions in voxels; or (B, N, 3), as many as fields.
        rule: `trilinear` (points beyond the border are moved onto it: 0..size-1) or `published`.

    Returns:
        (N, C) values, or (B, N, C). Differentiable by the field and the points.

    Raises:
        ValueError: when the shapes do not fit, the field is too small or the rule unknown.
    """
    batched = field.ndim == 5
    if field.ndim not in (4, 5) or points_ijk.ndim != field.ndim - 2 or points_ijk.shape[-1] != 3:
        raise ValueError(
            "expected field (C, I, J, K) with points (N, 3), or (B, C, I, J, K) with (B, N, 3), "
            f"found {tuple(field.shape)} and {tuple(points_ijk.shape)}"
        )
    if not batched:
        return sample_field(field[None], points_ijk[None], rule)[0]
    if len(field) != len(points_ijk):
        raise ValueError(f"expected as many fields as sets of points, found {len(field)} and {len(points_ijk)}")
    if rule not in _SMALLEST or min(field.shape[2:]) < _SMALLEST[rule]:
        raise ValueError(f"expected rule trilinear (sizes >= 2) or published (>= 4), found {rule}, {field.shape[2:]}")
    cells, weights = _place(points_ijk, field.shape[2:], rule)
    return _mix(field, cells, weights)


def _place(points: Tensor, sizes: Sequence[int], rule: SamplerRule) -> tuple[Tensor, Tensor]:
    """Give each point's lower cell corner, (B, N, 3) int64, and the weights of the upper corners, (B, N, 3)."""
    size = torch.tensor(sizes, device=points.device)
    zero = torch.zeros_like(size)
    if rule == "trilinear":
        inside = points.clamp(zero, size - 1)
        cells = inside.detach().floor().long().clamp(zero, size - 2)
        return cells, inside - cells
    inside = points.clamp(zero, size - 2)
    cells = inside.detach().floor().long().clamp(zero + 1, size - 3)
    # Weights count from the clamped cell, so beyond it the field is continued linearly, and axes 0 and 1 are swapped.
    return cells, (inside - cells)[..., [1, 0, 2]]


def _mix(field: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """Give the weighted sums, (B, N, C), of the field at the eight corners of the cells."""
    channels, (_, size_j, size_k) = field.shape[1], field.shape[2:]
    flat = field.flatten(2)
    total = torch.zeros((), dtype=field.dtype, device=field.device)
    for corner in product((0, 1), repeat=3):
        i, j, k = (cells[..., axis] + step for axis, step in enumerate(corner))
        place = ((i * size_j + j) * size_k + k)[:, None].expand(-1, channels, -1)
        parts = [weights[..., axis] if step else 1 - weights[..., axis] for axis, step in enumerate(corner)]
        total = total + flat.gather(2, place) * (parts[0] * parts[1] * parts[2])[:, None]
    return total.transpose(1, 2)
