"""Reading what a trained nnU-Net (version 1) is built from: the plans in `model_best.model.pkl`.

Source: Isensee et al., Nature Methods 18 (2021) 203, doi 10.1038/s41592-020-01008-z, and the files that the package
`nnunet` 1.7 writes: a pickled mapping of `name` (the class of the trainer), `init` (its arguments) and `plans`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import ReleaseError
from model.release.numpy_records import ArrayRecord, ScalarRecord
from model.release.pickled_array import read_pickle

Triple = tuple[int, int, int]

TRAINERS = ("nnUNetTrainer", "nnUNetTrainerV2", "nnUNetTrainerV2_DP", "nnUNetTrainerV2_DDP", "nnUNetTrainerV2_fp32")
"""Trainers of the same network. Others change norm, activation or order, of which the weights may show nothing."""

_STAGE = 5
"""Place of the stage among the arguments of a trainer."""

_MOST_CHANNELS = 320
_LIMITS = {"base_num_features": 320, "num_modalities": 64, "num_classes": 255, "conv_per_stage": 8}


@dataclass(frozen=True)
class Plans:
    """A network and how it is applied. Axes are those of the preprocessed image, see `transpose_backward`.

    Attributes:
        patch: voxels of a tile.
        pools: strides from one level to the next coarser one.
        kernels: kernel sizes of the levels, one more than there are strides.
        convolutions: convolutions of a level, on the way down and on the way up.
        base_width: channels of the first level.
        modalities: channels of the image.
        classes: labels, background included.
        transpose_backward: axes of the preprocessed image that are z, y and x of the image, in that order.
        spacing_mm: voxel size of the preprocessed image.
    """

    patch: Triple
    pools: tuple[Triple, ...]
    kernels: tuple[Triple, ...]
    convolutions: int
    base_width: int
    modalities: int
    classes: int
    transpose_backward: Triple
    spacing_mm: tuple[float, float, float]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the levels: doubled from each to the next, at most 320."""
        return tuple(min(self.base_width * 2**level, _MOST_CHANNELS) for level in range(len(self.kernels)))


def read_plans(file: Path) -> Plans:
    """Read the plans of a trained model. Nothing that the file names is run.

    Args:
        file: `model_best.model.pkl`.

    Raises:
        ReleaseError: the file is missing, damaged, names anything but numpy's values, or is of a network that is not
            the usual one in three dimensions.
    """
    names = {("collections", "OrderedDict"): OrderedDict}
    content = read_pickle(file, names, "the plans of a model trained by nnU-Net version 1")
    try:
        return _plans(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ReleaseError(
            f"{file.name} cannot be used",
            expected="the plans of a model trained by nnU-Net version 1",
            found=f"{type(error).__name__}: {error}"[:120],
        ) from error


def _plans(content: Any) -> Plans:  # noqa: ANN401
    """Take the plans from the content of the file; raises what looking up and converting raise."""
    trainer = content["name"]
    if trainer not in TRAINERS:
        raise ReleaseError("the network is of another kind", expected=" or ".join(TRAINERS), found=str(trainer)[:60])
    plans = content["plans"]
    stage = _stage(plans["plans_per_stage"], content["init"])
    patch = _integers(stage["patch_size"])
    if len(patch) != 3:
        raise ReleaseError("the network is of another kind", expected="3 dimensions", found=f"{len(patch)}")
    pools = _pools(stage)
    kernels = stage.get("conv_kernel_sizes", [[3, 3, 3]] * (len(pools) + 1))
    backward = plans.get("transpose_backward")
    i, j, k = (float(value) for value in _numbers(stage["current_spacing"]))
    result = Plans(
        patch=_triple(patch),
        pools=pools,
        kernels=tuple(_triple(kernel) for kernel in _rows(kernels)),
        convolutions=_count(plans, "conv_per_stage", 2),
        base_width=_count(plans, "base_num_features"),
        modalities=_count(plans, "num_modalities"),
        classes=_count(plans, "num_classes") + 1,
        transpose_backward=_triple((0, 1, 2) if backward is None else backward),
        spacing_mm=(i, j, k),
    )
    _check(result)
    return result


def _stage(stages: Mapping[Any, Any], arguments: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Give the only stage, or the one that the trainer was made for."""
    if len(stages) == 1:
        only: Mapping[str, Any] = next(iter(stages.values()))
        return only
    asked = next(iter(_integers([arguments[_STAGE]])))
    chosen: Mapping[str, Any] = {next(iter(_integers([key]))): value for key, value in stages.items()}[asked]
    return chosen


def _pools(stage: Mapping[str, Any]) -> tuple[Triple, ...]:
    """Give the strides; plans of old versions hold only how often each axis is halved, the coarsest levels first."""
    if "pool_op_kernel_sizes" in stage:
        return tuple(_triple(row) for row in _rows(stage["pool_op_kernel_sizes"]))
    times = _integers(stage["num_pool_per_axis"])
    levels = max(times)
    return tuple(_triple([2 if levels - count <= level else 1 for count in times]) for level in range(levels))


def _check(plans: Plans) -> None:
    """Refuse what no network can be built from; the caps keep a made-up file from asking for all memory."""
    if not 1 <= len(plans.pools) <= 8 or len(plans.kernels) != len(plans.pools) + 1:
        raise ValueError(f"{len(plans.pools)} strides for {len(plans.kernels)} kernels")
    if any(size not in (1, 3) for kernel in plans.kernels for size in kernel):
        raise ValueError(f"kernels {plans.kernels}, not of 1 or 3 voxels")
    if any(not 1 <= stride <= 4 for pool in plans.pools for stride in pool):
        raise ValueError(f"strides {plans.pools}")
    steps = np.prod(plans.pools, axis=0)
    if any(not 1 <= size <= 1024 or size % step for size, step in zip(plans.patch, steps, strict=True)):
        raise ValueError(f"a patch of {plans.patch}, not a multiple of {tuple(steps.tolist())}")
    if sorted(plans.transpose_backward) != [0, 1, 2]:
        raise ValueError(f"axes {plans.transpose_backward}")
    if not all(np.isfinite(size) and size > 0 for size in plans.spacing_mm):
        raise ValueError(f"spacing {plans.spacing_mm}")


def _count(plans: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Give a number of the plans, between one (for the convolutions of a level, two) and its cap."""
    value = plans[key] if default is None else plans.get(key, default)
    (number,) = _integers([value])
    if not (2 if key == "conv_per_stage" else 1) <= number <= _LIMITS[key]:
        raise ValueError(f"{key} is {number}")
    return number


def _rows(values: Any) -> list[Any]:  # noqa: ANN401
    """Give the rows of a list or array."""
    return list(values.resolve() if isinstance(values, ArrayRecord) else values)


def _triple(values: Any) -> Triple:  # noqa: ANN401
    """Give three integers."""
    i, j, k = _integers(values)
    return i, j, k


def _integers(values: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Give the integers of a list or array."""
    numbers = _numbers(values)
    if any(number != int(number) for number in numbers):
        raise ValueError(f"{numbers} are no integers")
    return tuple(int(number) for number in numbers)


def _numbers(values: Any) -> list[Any]:  # noqa: ANN401
    """Give the numbers of a list or array, each of Python's or numpy's."""
    return [value.resolve().item() if isinstance(value, ScalarRecord) else value for value in _rows(values)]
