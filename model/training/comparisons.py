"""What a batch of training cases is compared by: atlas points, and where they or their surfaces truly lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.losses.batch import Target
from model.losses.points import point_to_point, split_structures
from model.training.crops.case import WHOLE


@dataclass(frozen=True)
class Comparison:
    """Some cases of a batch whose points can be compared at once.

    Attributes:
        cases: which cases of the batch.
        atlas_points: (B, N, 3) points in crop voxels, of those cases.
        counts: points of each structure, in that order.
        target: where they should go.
    """

    cases: slice
    atlas_points: Tensor
    counts: Mapping[str, int]
    target: Target


def compare_views(
    batch: Mapping[str, Tensor],
    atlas_points: Tensor,
    structures: tuple[str, ...],
    atlas_view: Tensor,
    atlas_masks: Tensor | None,
) -> list[Comparison]:
    """Give the one comparison of a batch of `ChangedCases`: corresponding points, as many of each structure.

    Args:
        batch: `indices` (B, P) into the atlas points, `vertices` and `normals` (B, P, 3).
        atlas_points: (N, 3) all points of the atlas.
        structures: ids in the order of the points.
        atlas_view: (1, 1, n, n, n) what the network sees of the atlas.
        atlas_masks: (1, C, n, n, n) masks of the atlas there, when they are compared.
    """
    indices = batch["indices"]
    counts = dict.fromkeys(structures, indices.shape[1] // len(structures))
    target = Target(
        batch["vertices"],
        corresponding=True,
        normals=batch["normals"],
        atlas_image=_for_all(atlas_view, len(indices)),
        masks=None if atlas_masks is None else _for_all(atlas_masks, len(indices)),
    )
    return [Comparison(slice(None), atlas_points[indices], counts, target)]


def compare_crops(
    batch: Mapping[str, Any],
    atlas_points: Tensor,
    counts: Mapping[str, int],
    atlas_image: Tensor,
    atlas_masks: Tensor | None,
) -> list[Comparison]:
    """Give a comparison for each case of a batch of `CropDataset`, as cases differ in their points.

    Args:
        batch: for each case `points` by structure, or all under `WHOLE`; whether they are `corresponding`; perhaps
            `normals` likewise.
        atlas_points: (N, 3) all points of the atlas.
        counts: points of each structure, in that order.
        atlas_image: (1, 1, I, J, K) image of the atlas.
        atlas_masks: (1, C, I, J, K) masks of the atlas, when they are compared.
    """
    found = []
    for number, points in enumerate(batch["points"]):
        whole = set(points) == {WHOLE}
        target = Target(
            points,
            corresponding=bool(batch["corresponding"][number]),
            normals=batch["normals"][number] if "normals" in batch else None,
            atlas_image=atlas_image,
            masks=atlas_masks,
        )
        own = {WHOLE: len(atlas_points)} if whole else counts
        found.append(Comparison(slice(number, number + 1), atlas_points[None], own, target))
    return found


def mean_errors(comparison: Comparison, moved: Tensor, spacing_mm: float) -> dict[str, Tensor]:
    """Give mean point-to-point errors in mm: `before` registration, `after` it, and after it by structure.

    Args:
        comparison: what is compared; without correspondence there is nothing to give.
        moved: (B, N, 3) atlas points where the network puts them, crop voxels.
        spacing_mm: crop voxel.
    """
    target, counts = comparison.target, comparison.counts
    if not target.corresponding:
        return {}
    if isinstance(target.points, Tensor):
        true = split_structures(target.points, counts)
    else:
        true = {name: points[None] for name, points in target.points.items()}
    before, after = (
        {name: spacing_mm * point_to_point(split_structures(points, counts)[name], true[name]) for name in true}
        for points in (comparison.atlas_points, moved)
    )
    means = {"before": torch.stack(list(before.values())).mean(), "after": torch.stack(list(after.values())).mean()}
    return {**means, **after}


def _for_all(one: Tensor, cases: int) -> Tensor:
    """Give the (1, C, ...) atlas side for every case of a batch."""
    return one.expand(cases, *one.shape[1:])
