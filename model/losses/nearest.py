"""Which point of one set is nearest to each point of another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

_BLOCK = 2**24
"""Distances held at a time by the search in blocks: 64 MiB in float32."""


def nearest_indices(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest neighbours of two sets of points, both ways.

    Args:
        first: (B, N, 3) points.
        second: (B, M, 3) points, same unit and device.

    Returns:
        (B, N) int64 indices into `second` and (B, M) int64 indices into `first`; of equally near points any one.
        By KD-trees on the CPU, by all distances in blocks on other devices.
    """
    first, second = first.detach(), second.detach()
    if first.device.type != "cpu":
        return search_in_blocks(first, second), search_in_blocks(second, first)
    found = [_search_trees(one, other) for one, other in zip(first.numpy(), second.numpy(), strict=True)]
    return torch.stack([pair[0] for pair in found]), torch.stack([pair[1] for pair in found])


def search_in_blocks(queries: Tensor, points: Tensor, block: int = _BLOCK) -> Tensor:
    """Give the (B, N) index of the point nearest to each query, from all distances.

    Args:
        queries: (B, N, 3) points.
        points: (B, M, 3) points.
        block: most distances held in memory at a time.
    """
    rows = max(1, block // (points.shape[0] * points.shape[1]))
    # Differences instead of products: products cancel for points far from the origin.
    parts = [
        torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=2)
        for part in queries.split(rows, dim=1)
    ]
    return torch.cat(parts, dim=1)


def _search_trees(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> tuple[Tensor, Tensor]:
    """Give the indices of the nearest points of (N, 3) and (M, 3) points, both ways."""
    # Cells cut at their middle are built faster than cells cut at the median, and surfaces spread evenly over them.
    trees = [cKDTree(points, balanced_tree=False, compact_nodes=False) for points in (first, second)]
    to_second, to_first = trees[1].query(first)[1], trees[0].query(second)[1]
    return torch.from_numpy(to_second), torch.from_numpy(to_first)
