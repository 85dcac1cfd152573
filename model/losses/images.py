"""How alike two images are, and images seen through a displacement field."""

from __future__ import annotations

import torch
from torch import Tensor

from model.losses.precision import at_least_single

_LOCAL_EPSILON = 1e-5
"""Added to the product of local variances: windows without contrast count as not alike."""


def pull_back(image: Tensor, ddf_ijk: Tensor) -> Tensor:
    """See an image through a displacement field.

    Args:
        image: (B, C, I, J, K) values, voxel centres at integers; for a patient image, crop intensities.
        ddf_ijk: (B, 3, I, J, K) displacement in voxels, channel c along axis c.

    Returns:
        (B, C, I, J, K): at x the image's value at x + ddf(x), between voxels trilinear, beyond the border that of the
        border. A patient image or mask is so carried onto the atlas.

    Raises:
        ValueError: when the shapes do not fit.
    """
    if image.ndim != 5 or ddf_ijk.shape != (len(image), 3, *image.shape[2:]):
        raise ValueError(
            "expected an image (B, C, I, J, K) and a field (B, 3, I, J, K), "
            f"found {tuple(image.shape)} and {tuple(ddf_ijk.shape)}"
        )
    image, ddf_ijk = at_least_single(image), at_least_single(ddf_ijk)
    axes = [torch.arange(n, dtype=ddf_ijk.dtype, device=ddf_ijk.device) for n in image.shape[2:]]
    moved = torch.stack(torch.meshgrid(*axes, indexing="ij")) + ddf_ijk
    size = torch.tensor(image.shape[2:], dtype=ddf_ijk.dtype, device=ddf_ijk.device)
    unit = moved.movedim(1, -1) / (size - 1).clamp(min=1) * 2 - 1
    # grid_sample orders coordinates from the last axis to the first.
    return torch.nn.functional.grid_sample(
        image, unit.flip(-1).to(image.dtype), mode="bilinear", padding_mode="border", align_corners=True
    )


def mse(first: Tensor, second: Tensor) -> Tensor:
    """Give the mean squared difference of two images of one shape.

    Raises:
        ValueError: when the shapes differ.
    """
    first, second = _pair(first, second)
    return (first - second).square().mean()


def ncc(first: Tensor, second: Tensor) -> Tensor:
    """Give the normalized cross-correlation of two images: Pearson's coefficient over all voxels.

    Args:
        first: (B, 1, I, J, K) image.
        second: image of the same shape.

    Returns:
        The mean over the batch, in [-1, 1]; 1 when one image is the other brightened or stretched in contrast, 0 for
        an image without contrast.

    Raises:
        ValueError: when the shapes differ.
    """
    first, second = (image.flatten(1) for image in _pair(first, second))
    first, second = (image - image.mean(1, keepdim=True) for image in (first, second))
    return torch.nn.functional.cosine_similarity(first, second, dim=1).mean()


def lncc(first: Tensor, second: Tensor, window: int = 9) -> Tensor:
    """Give the local normalized cross-correlation of two images: the squared coefficient in a window, averaged.

    Args:
        first: (B, 1, I, J, K) image.
        second: image of the same shape.
        window: edge of the cubic window around every voxel, odd, in voxels; cut off at the border of the image.

    Returns:
        A number in [0, 1], the mean over voxels and batch.

    Raises:
        ValueError: when the shapes differ or the window is even.

    Source: Avants et al., Medical Image Analysis 12 (2008) 26.
    """
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of voxels, at least 3, found {window}")
    # Taking the mean off first keeps the differences of the moments below from cancelling.
    first, second = (image - image.mean(dim=(2, 3, 4), keepdim=True) for image in _pair(first, second))
    mean_1, mean_2 = _local_mean(first, window), _local_mean(second, window)
    variance_1 = (_local_mean(first.square(), window) - mean_1.square()).clamp(min=0)
    variance_2 = (_local_mean(second.square(), window) - mean_2.square()).clamp(min=0)
    covariance = _local_mean(first * second, window) - mean_1 * mean_2
    return (covariance.square() / (variance_1 * variance_2 + _LOCAL_EPSILON)).mean()


def _pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Give both images in at least single precision."""
    if first.ndim != 5 or first.shape != second.shape:
        raise ValueError(
            f"expected two images (B, C, I, J, K) of one shape, found {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return at_least_single(first), at_least_single(second)


def _local_mean(image: Tensor, window: int) -> Tensor:
    """Give the mean over the voxels of the window that lie in the image, axis by axis."""
    for axis in (2, 3, 4):
        line = image.movedim(axis, -1).flatten(0, -2)
        padded = torch.nn.functional.pad(torch.stack([line, torch.ones_like(line)]), (window // 2, window // 2))
        sums, voxels = torch.nn.functional.avg_pool1d(padded, window, stride=1)
        image = (sums / voxels).unflatten(0, image.movedim(axis, -1).shape[:-1]).movedim(-1, axis)
    return image
