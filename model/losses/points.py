"""Distances between corresponding points."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.errors import InputError
from model.losses.precision import at_least_single


def point_to_point(
    predicted: Tensor,
    true: Tensor,
    weights: Tensor | None = None,
    *,
    squared: bool = False,
    smoothing: float = 0.0,
) -> Tensor:
    """Give the mean distance of corresponding points.

    Args:
        predicted: (B, N, 3) points, any unit.
        true: (B, N, 3) points they should be, same unit.
        weights: (B, N) weights of the points, not negative, or none: all alike.
        squared: average the squared distances instead, as the published program does.
        smoothing: added under the root, in the squared unit of the points; makes the gradient continuous at zero.

    Returns:
        A number in the unit of the points, or its square.

    Raises:
        ValueError: when the shapes do not fit.
    """
    offsets = _offsets(predicted, true)
    if squared:
        return _mean(offsets.square().sum(-1), weights)
    if smoothing:
        return _mean((offsets.square().sum(-1) + smoothing).sqrt(), weights)
    # Unlike the root, the norm has a gradient at zero: none.
    return _mean(torch.linalg.vector_norm(offsets, dim=-1), weights)


def point_to_plane(predicted: Tensor, true: Tensor, normals: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give the mean distance of points from the tangent planes at the points they should be.

    Only what moves the surface counts: a point may slide along it.

    Args:
        predicted: (B, N, 3) points, any unit.
        true: (B, N, 3) points they should be, same unit.
        normals: (B, N, 3) unit normals of the true surface at `true`, of either sense.
        weights: (B, N) weights of the points, not negative, or none: all alike.

    Returns:
        The mean of |(predicted - true) . normal|, in the unit of the points.

    Raises:
        ValueError: when the shapes do not fit.

    Source: Chen and Medioni, Image and Vision Computing 10 (1992) 145.
    """
    if normals.shape != true.shape:
        raise ValueError(f"normals: expected shape {tuple(true.shape)}, found {tuple(normals.shape)}")
    return _mean((_offsets(predicted, true) * at_least_single(normals)).sum(-1).abs(), weights)


def split_structures(points: Tensor, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Part concatenated points into structures.

    Args:
        points: (B, N, 3) points, structure after structure.
        counts: points of each structure, in that order.

    Returns:
        (B, count, 3) points of each structure: views of `points`.

    Raises:
        ValueError: when the counts do not add up to N.
    """
    if points.ndim != 3 or points.shape[1] != sum(counts.values()):
        raise ValueError(f"points: expected shape (B, {sum(counts.values())}, 3), found {tuple(points.shape)}")
    return dict(zip(counts, points.split(list(counts.values()), dim=1), strict=True))


def structures_with_truth(predicted: Mapping[str, Tensor], true: Mapping[str, Tensor]) -> list[str]:
    """Name the structures of which there are true points, in the order of the prediction.

    Args:
        predicted: (B, N, 3) points of every structure.
        true: (B, M, 3) points of some of them; a structure that is not there, or has no points, is left out.

    Raises:
        InputError: no structure has truth, or a structure has truth that is not predicted.
    """
    unknown = sorted(set(true) - set(predicted))
    if unknown:
        raise InputError(
            "a structure has true points but is not predicted", expected=", ".join(predicted), found=", ".join(unknown)
        )
    present = [name for name in predicted if name in true and true[name].shape[1]]
    if not present:
        raise InputError(
            "no structure has true points", expected=f"points of at least one of {', '.join(predicted)}", found="none"
        )
    return present


def _offsets(predicted: Tensor, true: Tensor) -> Tensor:
    """Give predicted - true of two (B, N, 3) sets."""
    if predicted.ndim != 3 or predicted.shape[-1] != 3 or predicted.shape != true.shape:
        raise ValueError(
            "expected two sets of points of one shape (B, N, 3), "
            f"found {tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    return at_least_single(predicted) - at_least_single(true)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Give the weighted mean of (B, N) values."""
    if weights is None:
        return values.mean()
    if weights.shape != values.shape:
        raise ValueError(f"weights: expected shape {tuple(values.shape)}, found {tuple(weights.shape)}")
    return (values * weights).sum() / weights.sum()
