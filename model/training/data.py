"""Endless stream of randomly changed training cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from model.training.augment import AugmentOptions, random_view
from model.training.cases import CaseSet


class ChangedCases(IterableDataset[dict[str, Tensor]]):
    """Views of cases drawn at random, each set of cases with its own share, each case changed at random.

    Every item holds `view` (1, n, n, n) in [-1, 1], `vertices` (P, 3) true positions in crop voxels and `indices` (P,)
    of the atlas vertices they belong to, P points of each structure alike.
    """

    def __init__(
        self,
        sets: Sequence[CaseSet],
        shares: Sequence[float],
        *,
        grid: int,
        region: tuple[float, float],
        samples: int,
        points: int,
        seed: int,
        options: AugmentOptions,
    ) -> None:
        """Make the stream; `points` per structure, `shares` of the sets in the draws, `grid` voxels of the crop."""
        super().__init__()
        self.sets, self.grid, self.region, self.samples, self.points = list(sets), grid, region, samples, points
        self.shares = np.asarray(shares, dtype=np.float64) / np.sum(shares)
        self.seed, self.options = seed, options

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Stream items; every worker process draws from a stream of its own."""
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            chosen = self.sets[int(rng.choice(len(self.sets), p=self.shares))]
            case = chosen.cases[int(rng.integers(len(chosen.cases)))]
            indices = self._draw(chosen, rng)
            view, vertices = random_view(
                torch.from_numpy(case.image_hu.astype(np.float32)),
                torch.from_numpy(case.vertices_ijk[indices]),
                self.grid,
                self.region,
                self.samples,
                rng,
                self.options,
            )
            yield {"view": view[None], "vertices": vertices, "indices": torch.from_numpy(indices)}

    def _draw(self, chosen: CaseSet, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Draw vertex indices, as many of each structure."""
        starts = np.cumsum([0, *chosen.counts.values()])
        return np.concatenate([rng.integers(a, b, self.points) for a, b in pairwise(starts)])
