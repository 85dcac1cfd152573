"""The chamfer distance between sets of points without correspondence."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from model.errors import OptionError
from model.losses.nearest import nearest_indices
from model.losses.points import structures_with_truth
from model.losses.precision import at_least_single

ChamferBackend = Literal["auto", "pytorch3d", "own"]
"""What computes the distance: PyTorch3D, our nearest-neighbour search, or the first of them that can."""


def chamfer(predicted: Tensor, true: Tensor, *, backend: ChamferBackend = "auto") -> Tensor:
    """Give the chamfer distance: mean squared distances to the nearest point, from each set to the other, summed.

    Args:
        predicted: (B, N, 3) points, any unit, N > 0.
        true: (B, M, 3) points, same unit, M > 0.
        backend: `own`; `pytorch3d`; or `auto`: PyTorch3D when it can be imported and the points are not float64 (which
            it lacks on the CPU), otherwise `own`. Values and gradients agree.

    Returns:
        A number in the squared unit of the points, the mean over the batch; differentiable by both sets.

    Raises:
        OptionError: an unknown backend, or PyTorch3D is asked for and not installed.
        ValueError: when the shapes do not fit or a set is empty.

    Source: Fan et al., CVPR 2017 (doi 10.1109/CVPR.2017.264), with means instead of sums.
    """
    if backend not in get_args(ChamferBackend):
        raise OptionError("unknown chamfer backend", expected=", ".join(get_args(ChamferBackend)), found=backend)
    for points in (predicted, true):
        if points.ndim != 3 or points.shape[-1] != 3 or len(points) != len(predicted) or not points.numel():
            raise ValueError(
                "expected points (B, N, 3) and (B, M, 3), none empty, "
                f"found {tuple(predicted.shape)} and {tuple(true.shape)}"
            )
    predicted, true = at_least_single(predicted), at_least_single(true)
    if _use_pytorch3d(backend, predicted):
        distance: Tensor = importlib.import_module("pytorch3d.loss").chamfer_distance(predicted, true)[0]
        return distance
    to_true, to_predicted = nearest_indices(predicted, true)
    return _mean_square(predicted - _gather(true, to_true)) + _mean_square(true - _gather(predicted, to_predicted))


def chamfer_of_structures(
    predicted: Mapping[str, Tensor],
    true: Mapping[str, Tensor],
    concatenated: bool,
    *,
    backend: ChamferBackend = "auto",
) -> Tensor:
    """Give the chamfer distance of several structures, leaving out those without truth.

    Args:
        predicted: (B, N, 3) points of every structure.
        true: (B, M, 3) points of some of the structures; a structure that is not there, or has no points, is left out.
        concatenated: one distance of all points together (a point may match another structure's), as published;
            otherwise the mean over the structures of their distances.
        backend: see `chamfer`.

    Raises:
        InputError: no structure has truth, or a structure has truth that is not predicted.
    """
    present = structures_with_truth(predicted, true)
    if concatenated:
        together = [torch.cat([points[name] for name in present], dim=1) for points in (predicted, true)]
        return chamfer(together[0], together[1], backend=backend)
    return torch.stack([chamfer(predicted[name], true[name], backend=backend) for name in present]).mean()


def _use_pytorch3d(backend: ChamferBackend, points: Tensor) -> bool:
    """Whether PyTorch3D computes the distance."""
    if backend == "own" or (backend == "auto" and points.dtype == torch.float64):
        return False
    there = importlib.util.find_spec("pytorch3d") is not None
    if backend == "pytorch3d" and not there:
        raise OptionError(
            "PyTorch3D is not installed",
            expected="an installed pytorch3d for this chamfer backend",
            hint="use the backend auto or own: values and gradients are the same",
        )
    return there


def _gather(points: Tensor, indices: Tensor) -> Tensor:
    """Give the (B, N, 3) points at (B, N) indices."""
    return points.gather(1, indices[..., None].expand(-1, -1, 3))


def _mean_square(offsets: Tensor) -> Tensor:
    """Give the mean squared length of (B, N, 3) offsets."""
    return offsets.square().sum(-1).mean()
