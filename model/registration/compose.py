"""Composition of displacement fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.registration.control_grid import expand_all, sample_spanning


def then_control_grids(ddf_ijk: Tensor, levels: Sequence[Tensor]) -> Tensor:
    """Follow a displacement field by a smooth field on control grids.

    Args:
        ddf_ijk: (3, I, J, K) field in crop voxels that carries p to p + ddf(p).
        levels: (3, g, g, g) control grids over the crop, voxels: a point x moves on to x + field(x).

    Returns:
        (3, I, J, K) field that carries p through both.
    """
    shape = ddf_ijk.shape[1:]
    axes = [torch.arange(n, dtype=ddf_ijk.dtype, device=ddf_ijk.device) for n in shape]
    moved = torch.stack(torch.meshgrid(*axes, indexing="ij")) + ddf_ijk
    field = expand_all([level.to(ddf_ijk) for level in levels], tuple((n + 1) // 2 for n in shape))
    further = sample_spanning(field, moved.flatten(1).T, shape)
    followed: Tensor = ddf_ijk + further.T.unflatten(1, shape)
    return followed
