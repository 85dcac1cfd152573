"""The sliding window of nnU-Net (version 1): tiles of one size, weighted by a Gaussian, added up.

The window slides over an activation map here, not over an image, as in the published program. A tile of the map holds
what the first convolution saw beyond the faces of the tile, where a tile of the image would have been continued by
zeros. The two differ within half a kernel (a voxel, for 3^3 kernels) of those faces of a tile that lie inside the
image; as instance norm averages over the tile, they then differ in the whole prediction of that tile. A map that fits
into one tile, as the published ones of 128^3 do in a patch of 128^3, gives what the image gives. A map smaller than the
patch is continued by zeros, though the map of an image continued by zeros holds the bias there.

Source: Isensee et al., Nature Methods 18 (2021) 203, doi 10.1038/s41592-020-01008-z, as its version 1 computes it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from model.release.nnunet.plans import Triple

STEP = 0.5
"""Largest step from tile to tile, as a part of the patch."""

_SIGMA = 1 / 8

Progress = Callable[[float], None]
"""Called with the fraction done."""


def part_of(progress: Progress, number: int, count: int) -> Progress:
    """Give the progress of one run, counted from zero, among several."""
    return lambda part: progress((number + part) / count)


def tile_starts(size: int, patch: int) -> list[int]:
    """Give the first voxels of the tiles along an axis: as few as `STEP` allows, evenly spread, the last at the end.

    Args:
        size: voxels of the volume, at least those of the patch.
        patch: voxels of a tile.
    """
    steps = math.ceil((size - patch) / (patch * STEP))
    # Rounding is to even at the half, as numpy does.
    return [round((size - patch) / steps * number) for number in range(steps + 1)] if steps else [0]


def importance(patch: Triple) -> npt.NDArray[np.float32]:
    """Give the weights of the voxels of a tile: a Gaussian of an eighth of the patch, 1 at voxel `patch // 2`.

    No weight is zero: the filter reaches four deviations, half a patch, and 1e-11 is a float32.
    """
    axes = []
    for size in patch:
        peak = np.zeros(size)
        peak[size // 2] = 1
        axes.append(gaussian_filter1d(peak, size * _SIGMA, mode="constant"))
    weights = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    return np.asarray(weights / weights.max(), dtype=np.float32)


def predict_tiles(
    predict: Callable[[Tensor], Tensor], volume: Tensor, patch: Triple, progress: Progress = lambda _: None
) -> Tensor:
    """Predict tile by tile.

    Args:
        predict: gives (1, classes, *patch) of a (1, C, *patch) tile.
        volume: (C, I, J, K) values, of any size; where smaller than the patch they are continued by zeros on both
            sides, the odd one at the end.
        patch: voxels of a tile.
        progress: called after every tile.

    Returns:
        (classes, I, J, K) weighted mean of the predictions.
    """
    size = volume.shape[1:]
    before = [max(tile - own, 0) // 2 for tile, own in zip(patch, size, strict=True)]
    after = [max(tile - own, 0) - low for tile, own, low in zip(patch, size, before, strict=True)]
    margins = [margin for pair in zip(reversed(before), reversed(after), strict=True) for margin in pair]
    padded = torch.nn.functional.pad(volume, margins)
    starts = [tile_starts(full, tile) for full, tile in zip(padded.shape[1:], patch, strict=True)]
    corners = list(itertools.product(*starts))
    weights = torch.from_numpy(importance(patch)) if len(corners) > 1 else torch.ones(())
    weights = weights.to(volume.device)
    total, weight = volume.new_zeros(()), volume.new_zeros(padded.shape[1:])
    for number, corner in enumerate(corners, start=1):
        place = (slice(None), *(slice(start, start + tile) for start, tile in zip(corner, patch, strict=True)))
        values = predict(padded[place][None])[0]
        if number == 1:
            total = values.new_zeros((len(values), *padded.shape[1:]))
        total[place] += values * weights
        weight[place[1:]] += weights
        progress(number / len(corners))
    inside = (slice(None), *(slice(low, low + own) for low, own in zip(before, size, strict=True)))
    return (total / weight)[inside]
