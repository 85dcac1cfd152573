"""The terms of a weighted loss that compare points, structure by structure or all together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.errors import InputError
from model.losses.batch import Prediction, Target
from model.losses.chamfer import chamfer
from model.losses.points import point_to_plane, point_to_point, split_structures, structures_with_truth
from model.losses.weights import LossWeights

POINT_SMOOTHING = 1e-6
"""Squared voxels under the root of point-to-point distances, for a gradient that is continuous at zero."""


def chamfer_term(
    prediction: Prediction, target: Target, weights: LossWeights, generator: torch.Generator | None
) -> Tensor:
    """Give the chamfer distance in squared voxels, of at most `chamfer_points` random points a side.

    Structure by structure, each has an equal share of them.

    Raises:
        InputError: no structure has truth.
    """
    predicted, true = _groups(prediction, target.points, weights.concatenated)
    most = max(1, weights.chamfer_points // len(predicted))
    terms = [
        chamfer(_draw(one, most, generator), _draw(other, most, generator))
        for one, other in zip(predicted, true, strict=True)
    ]
    return torch.stack(terms).mean()


def point_to_point_term(prediction: Prediction, target: Target, weights: LossWeights) -> Tensor:
    """Give the mean distance of corresponding points, in voxels, or of its square.

    Raises:
        InputError: the true points do not correspond, or no structure has truth.
    """
    _check_corresponding("point_to_point", prediction, target.corresponding, target.points)
    predicted, true = _groups(prediction, target.points, weights.concatenated)
    squared = weights.point_to_point_squared
    terms = [
        point_to_point(one, other, squared=squared, smoothing=POINT_SMOOTHING)
        for one, other in zip(predicted, true, strict=True)
    ]
    return torch.stack(terms).mean()


def point_to_plane_term(prediction: Prediction, target: Target, weights: LossWeights) -> Tensor:
    """Give the mean distance from the tangent planes at corresponding points, in voxels.

    Raises:
        InputError: the true points do not correspond or have no normals, or no structure has truth.
    """
    if target.normals is None:
        raise InputError("the loss term point_to_plane needs normals of the true points", found="none")
    for points in (target.points, target.normals):
        _check_corresponding("point_to_plane", prediction, target.corresponding, points)
    predicted, true = _groups(prediction, target.points, weights.concatenated)
    _, normals = _groups(prediction, target.normals, weights.concatenated)
    return torch.stack([point_to_plane(*points) for points in zip(predicted, true, normals, strict=True)]).mean()


def _groups(
    prediction: Prediction, points: Tensor | Mapping[str, Tensor], concatenated: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Give predicted and true (B, N, 3) points of the structures with truth: one by one, or all as one."""
    predicted, true = _sides(prediction, points)
    names = structures_with_truth(predicted, true)
    groups = [[side[name] for name in names] for side in (predicted, true)]
    if concatenated:
        groups = [[torch.cat(group, dim=1)] for group in groups]
    return groups[0], groups[1]


def _sides(
    prediction: Prediction, points: Tensor | Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Give the predicted and the true points of each structure."""
    predicted = split_structures(prediction.points, prediction.counts)
    if isinstance(points, Tensor):
        return predicted, split_structures(points, prediction.counts)
    return predicted, {name: one[None] if one.ndim == 2 else one for name, one in points.items()}


def _check_corresponding(
    term: str, prediction: Prediction, corresponding: bool, points: Tensor | Mapping[str, Tensor]
) -> None:
    """Refuse points that are not the predicted ones in the same order."""
    if not corresponding:
        raise InputError(
            f"the loss term {term} needs true points that correspond to those of the atlas",
            found="points without correspondence",
            hint="use the term chamfer",
        )
    predicted, true = _sides(prediction, points)
    for name in structures_with_truth(predicted, true):
        if true[name].shape != predicted[name].shape:
            raise InputError(
                f"the loss term {term} needs a true point for every predicted point of {name}",
                expected=f"shape {tuple(predicted[name].shape)}",
                found=f"shape {tuple(true[name].shape)}",
            )


def _draw(points: Tensor, most: int, generator: torch.Generator | None) -> Tensor:
    """Give at most so many of (B, N, 3) points, drawn without replacement, the same of every case."""
    count = points.shape[1]
    if count <= most:
        return points
    return points[:, torch.randperm(count, generator=generator)[:most].to(points.device)]
