"""Activation maps of mirrored images, for mirroring at test time.

nnU-Net averages its predictions of an image x and of its mirror images Fx. Mirroring the map in their place is wrong:
with the kernel K, F conv(K, x) is conv(FK, Fx), the map of a network with mirrored kernels, which was not trained. What
is wanted is conv(K, Fx) = F conv(FK, x), that is, the map of x under the mirrored kernel, then mirrored.

The image need not be known for it. At each voxel the map holds a linear function of the voxels under the kernel,
`a = b + K x` with K as a matrix of channels by voxels of the kernel. Where the rows of FK are combinations of those of
K (always when K has independent columns: 32 channels, 27 voxels), the other map is `b + (FK) K+ (a - b)` with the
pseudo-inverse K+: a mix of the channels, voxel by voxel, the same everywhere, the faces of the image included.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from model.errors import ReleaseError

_MOST_ERROR = 1e-4
_MOST_GAIN = 1e3


def mirror_sets(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Give all sets of the axes, the empty one first."""
    return [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]


def map_under_mirrored_kernel(activation: Tensor, weight: Tensor, bias: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Give the map that the first convolution would have given with its kernel mirrored along axes.

    Mirrored along the same axes, it is the map of the mirrored image.

    Args:
        activation: (C, I, J, K) output of the convolution, bias included.
        weight: (C, modalities, *kernel) of the convolution.
        bias: (C,) of the convolution.
        axes: among 0, 1, 2; none gives the map itself.

    Raises:
        ReleaseError: the channels do not tell the voxels under the kernel, or only with large errors.
    """
    if not axes:
        return activation
    kernel = weight.double().flatten(1)
    mirrored = weight.double().flip([axis + 2 for axis in axes]).flatten(1)
    mix: Tensor = mirrored @ torch.linalg.pinv(kernel)
    error = float((mix @ kernel - mirrored).norm() / mirrored.norm())
    gain = float(torch.linalg.matrix_norm(mix, 2))
    if not error <= _MOST_ERROR or not gain <= _MOST_GAIN:
        raise ReleaseError(
            "the activation map does not tell the map of the mirrored image",
            expected=f"a relative error of the kernel below {_MOST_ERROR:g}, enlarged less than {_MOST_GAIN:g} times",
            found=f"{error:.1g} and {gain:.1g}",
            hint="predict without mirroring, as the published program does",
        )
    shift: Tensor = (bias.double() - mix @ bias.double()).to(activation.dtype)
    mixed: Tensor = torch.einsum("dc,cijk->dijk", mix.to(activation.dtype), activation)
    return mixed + shift[:, None, None, None]
