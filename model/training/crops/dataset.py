"""Crops as a network learns from them: every draw decided by the seed and its number alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.geometry.frame import CanonicalFrame
from model.masks.voxelize import voxelize
from model.meshes.topology import vertex_normals
from model.training.crops.atlas import CropAtlas
from model.training.crops.case import CropCase, load_image
from model.training.crops.masks import read_masks
from model.training.crops.options import CropOptions
from model.training.crops.rotation import draw_rotation, rotate_image, rotate_points

Item = dict[str, Any]


class CropDataset(Dataset[Item]):
    """Cases of a folder.

    Item n holds `image` (1, I, J, K) in [-1, 1]; `points`, the true (M, 3) crop voxels by structure id, or all under
    `WHOLE`; whether they are `corresponding` to the atlas; when asked for, `masks` (C, I, J, K) in [0, 1], structures
    in the order of the atlas, and `normals`, outward and by structure as the points.

    Training items are turned at random and are there for every n >= 0: epoch n // len(self), the case by a random
    order of that epoch. Without rotation item n is case n.
    """

    def __init__(
        self,
        cases: Sequence[CropCase],
        atlas: CropAtlas,
        *,
        train: bool,
        seed: int = 0,
        options: CropOptions | None = None,
        with_masks: bool = False,
        with_normals: bool = False,
    ) -> None:
        """Take the cases.

        Args:
            cases: at least one.
            atlas: what they are registered to.
            train: whether they come in random order and turned.
            seed: of orders and rotations.
            options: of the rotations; None for the published ones.
            with_masks: whether items have masks; every case needs some, see `has_masks`.
            with_normals: whether items have normals; every case must correspond to the atlas.
        """
        self.cases, self.atlas, self.train, self.seed = list(cases), atlas, train, seed
        self.options = CropOptions() if options is None else options
        self.with_masks, self.with_normals = with_masks, with_normals
        self._packed: dict[int, npt.NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        """Number of cases: draws in an epoch."""
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        """Give an item; see the class."""
        if not self.train:
            if not 0 <= index < len(self):
                raise IndexError(index)
            return self._item(index, None)
        epoch, place = divmod(index, len(self))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        # Three numbers in the seed: the stream differs from that of any epoch's order.
        rng = np.random.default_rng([self.seed, epoch, place + 1])
        return self._item(int(order[place]), draw_rotation(rng, self.options.rotation_deg))

    def _item(self, number: int, matrix: npt.NDArray[np.float64] | None) -> Item:
        """Give a case, turned by a matrix if there is one."""
        case, grid = self.cases[number], self.atlas.frame.grid
        image = torch.from_numpy(load_image(case, self.atlas.frame))[None]
        points = dict(case.points)
        normals = self._normals(case) if self.with_normals else None
        masks = self._masks(number) if self.with_masks else None
        if matrix is not None:
            image = rotate_image(image, matrix, self.options.fill).clamp(-1, 1)  # rounding apart, it is
            points = {name: rotate_points(own, matrix, grid) for name, own in points.items()}
            masks = None if masks is None else rotate_image(masks, matrix, 0.0).clamp(0, 1)
            normals = None if normals is None else {name: own @ matrix.T for name, own in normals.items()}
        item: Item = {"image": image, "points": _tensors(points), "corresponding": case.corresponding}
        if masks is not None:
            item["masks"] = masks
        if normals is not None:
            item["normals"] = _tensors(normals)
        return item

    def _normals(self, case: CropCase) -> dict[str, npt.NDArray[np.float64]]:
        """Give the (M, 3) outward normals of a corresponding case by structure."""
        meshes = self.atlas.meshes_ijk.items()
        return {name: vertex_normals(mesh.with_vertices(case.points[name])) for name, mesh in meshes}

    def _masks(self, number: int) -> Tensor:
        """Give the (C, I, J, K) float32 masks of a case, kept packed after the first time."""
        shape = (len(self.atlas.meshes_ijk), *self.atlas.frame.grid)
        if number not in self._packed:
            self._packed[number] = np.packbits(load_masks(self.cases[number], self.atlas))
        bits = np.unpackbits(self._packed[number], count=int(np.prod(shape)))
        return torch.from_numpy(bits.reshape(shape).astype(np.float32))


def collate_crops(items: Sequence[Item]) -> Item:
    """Put items into a batch: images and masks stacked, the rest as lists, since cases differ in their points."""
    stacked = ("image", "masks")
    return {
        key: torch.stack([item[key] for item in items]) if key in stacked else [item[key] for item in items]
        for key in items[0]
    }


def _tensors(arrays: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, Tensor]:
    """Give arrays as float32 tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in arrays.items()}


def has_masks(case: CropCase, atlas: CropAtlas) -> bool:
    """Whether a case has the masks of all structures: given, or by its points being those of the atlas's surfaces."""
    return case.corresponding or set(case.masks) == set(atlas.meshes_ijk)


def load_masks(case: CropCase, atlas: CropAtlas) -> npt.NDArray[np.bool_]:
    """Give the (C, I, J, K) masks of a case, structures in the order of the atlas.

    Raises:
        ValueError: the case has none, see `has_masks`.
        ImageError: a file of masks cannot be used any more.
    """
    if not has_masks(case, atlas):
        raise ValueError(f"case {case.name} has no masks")
    if case.masks:
        return _given_masks(case, atlas.frame, tuple(atlas.meshes_ijk))
    meshes = atlas.meshes_ijk.items()
    return np.stack([voxelize(mesh.with_vertices(case.points[name]), atlas.frame.grid) for name, mesh in meshes])


def _given_masks(case: CropCase, frame: CanonicalFrame, structures: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Read the masks that a case came with."""
    masks = read_masks(case.masks, frame)
    return np.stack([masks[name] for name in structures])
