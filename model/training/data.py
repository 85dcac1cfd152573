"""A training stream of randomly changed cases, each item a function of the seed and its number alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.masks.coverage import shares_inside
from model.meshes.mesh import SurfaceMesh
from model.training.augment import AugmentOptions, random_view
from model.training.cases import CaseSet

IntArray = npt.NDArray[np.integer]


class ChangedCases(Dataset[dict[str, Tensor]]):
    """Views of cases drawn at random, each set of cases with its own share, each case changed at random.

    Every item holds `view` (1, n, n, n) in [-1, 1], `vertices` (P, 3) true positions in crop voxels, `normals` (P, 3)
    of the true surface there, outward unit vectors, and `indices` (P,) of the atlas vertices they belong to: the
    corners of triangles drawn at random, as many of each structure. On demand also `masks` (C, n, n, n), the share of
    each voxel of the view that lies within the true surface of each structure. Since item i depends on the seed and i
    alone, a run that goes on at any step sees what it would have seen without the interruption, with any number of
    workers.
    """

    def __init__(
        self,
        sets: Sequence[CaseSet],
        shares: Sequence[float],
        triangles: Mapping[str, IntArray],
        *,
        grid: int,
        region: tuple[float, float],
        samples: int,
        stack: int = 1,
        points: int,
        length: int,
        seed: int,
        options: AugmentOptions,
        masks: bool = False,
    ) -> None:
        """Make the stream.

        Args:
            sets: the cases.
            shares: of the sets in the draws.
            triangles: structure id to (T, 3) triangles of the atlas's surface, in the order of the cases' counts.
            grid: voxels of the crop along each axis.
            region: first and last voxel of the views along each axis.
            samples: cells of the views along each axis.
            stack: samples along each edge of a cell.
            points: vertices of each structure in an item, rounded to whole triangles.
            length: number of items.
            seed: of all draws.
            options: strength of the changes.
            masks: whether items hold masks.
        """
        self.sets, self.grid, self.region, self.samples, self.stack = list(sets), grid, region, samples, stack
        self.shares = np.asarray(shares, dtype=np.float64) / np.sum(shares)
        starts = np.cumsum([0, *sets[0].counts.values()])
        # One array for each structure, its indices into all vertices.
        self.triangles = [triangles[name] + start for name, start in zip(sets[0].counts, starts, strict=False)]
        self.drawn, self.length = max(1, round(points / 3)), length
        self.seed, self.options = seed, options
        counts = sets[0].counts
        self.meshes = [
            SurfaceMesh(np.zeros((counts[name], 3)), np.asarray(triangles[name]), "ijk") for name in counts if masks
        ]

    def __len__(self) -> int:
        """Give the number of items."""
        return self.length

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """Make an item."""
        rng = np.random.default_rng([self.seed, item])
        chosen = self.sets[int(rng.choice(len(self.sets), p=self.shares))]
        case = chosen.cases[int(rng.integers(len(chosen.cases)))]
        corners = [part[rng.integers(0, len(part), self.drawn)] for part in self.triangles]
        indices = np.concatenate(corners).reshape(-1).astype(np.int64)
        # Masks need all vertices.
        wanted = case.vertices_ijk if self.meshes else case.vertices_ijk[indices]
        view, vertices = random_view(
            torch.from_numpy(case.image_hu.astype(np.float32)),
            torch.from_numpy(wanted),
            self.grid,
            self.region,
            self.samples,
            rng,
            self.options,
            stack=self.stack,
            lumen=None if case.lumen is None else torch.from_numpy(case.lumen).float() / 255,
        )
        masks = {}
        if self.meshes:
            own = (vertices.double().numpy() - self.region[0]) * (len(view) - 1) / (self.region[1] - self.region[0])
            masks["masks"] = torch.from_numpy(shares_inside(self.meshes, own, (len(view),) * 3))
            vertices = vertices[torch.from_numpy(indices)]
        return {
            "view": view[None],
            "vertices": vertices,
            "normals": corner_normals(vertices),
            "indices": torch.from_numpy(indices),
            **masks,
        }


def corner_normals(corners: Tensor) -> Tensor:
    """Give (3 T, 3) unit normals at the (3 T, 3) corners of T triangles; zero where a triangle has no area."""
    a, b, c = corners.unflatten(0, (-1, 3)).unbind(1)
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    return normals.repeat_interleave(3, dim=0)
