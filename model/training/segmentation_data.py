"""A training stream for segmentation networks, each item a function of the seed and its number alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.errors import InputError
from model.masks.coverage import shares_inside
from model.meshes.mesh import SurfaceMesh
from model.networks.segnet import PublishedSegNet
from model.training.augment import AugmentOptions, random_view
from model.training.cases import CaseSet


class SegmentationViews(Dataset[dict[str, Tensor]]):
    """Views of cases drawn at random, each set of cases with its own share, each case changed at random.

    Every item holds, on the network's own grid, `image` (1, n, n, n) in [-1, 1], what the network sees of the changed
    crop, and `masks` (C, n, n, n), the share of each voxel that lies within the surface of each structure, which went
    through the same change. Item i depends on the seed and i alone and is there for every i.
    """

    def __init__(
        self,
        sets: Sequence[CaseSet],
        shares: Sequence[float],
        meshes_ijk: Mapping[str, SurfaceMesh],
        *,
        network: PublishedSegNet,
        grid: int,
        length: int,
        seed: int,
        options: AugmentOptions,
    ) -> None:
        """Make the stream.

        Args:
            sets: the cases.
            shares: of the sets in the draws.
            meshes_ijk: the atlas, whose triangles join the vertices of the cases; structures in the cases' order.
            network: for its own grid.
            grid: voxels of the crop along each axis.
            length: number of items.
            seed: of all draws.
            options: strength of the changes.

        Raises:
            InputError: there are no cases, or they belong to another atlas.
            ValueError: the crop does not fit the network.
        """
        counts = {name: len(mesh.vertices) for name, mesh in meshes_ijk.items()}
        for cases in sets:
            if list(cases.counts.items()) != list(counts.items()):
                raise InputError(
                    "the training cases belong to another atlas", expected=str(counts), found=str(dict(cases.counts))
                )
        if not sets or not all(cases.cases for cases in sets):
            raise InputError("there are no training cases", expected="at least one case in every set")
        self.sets, self.meshes = list(sets), list(meshes_ijk.values())
        self.shares = np.asarray(shares, dtype=np.float64) / np.sum(shares)
        self.shape = network.own_shape((grid, grid, grid))
        self.factor, self.margin, self.grid = network.factor, network.margin, grid
        self.length, self.seed, self.options = length, seed, options

    def __len__(self) -> int:
        """Give the number of items."""
        return self.length

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """Make an item."""
        rng = np.random.default_rng([self.seed, item])
        chosen = self.sets[int(rng.choice(len(self.sets), p=self.shares))]
        case = chosen.cases[int(rng.integers(len(chosen.cases)))]
        view, vertices = random_view(
            torch.from_numpy(case.image_hu.astype(np.float32)),
            torch.from_numpy(case.vertices_ijk),
            self.grid,
            (self.margin, self.grid - 1 - self.margin),
            self.shape[0],
            rng,
            self.options,
            stack=self.factor,
            lumen=None if case.lumen is None else torch.from_numpy(case.lumen).float() / 255,
        )
        own = (vertices.double().numpy() - self.margin - (self.factor - 1) / 2) / self.factor
        image = torch.nn.functional.avg_pool3d(view[None], self.factor)
        return {"image": image, "masks": torch.from_numpy(shares_inside(self.meshes, own, self.shape))}
