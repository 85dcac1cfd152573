"""The published segmentation network: a two-level U-Net that runs its upper decoder twice.

First pass: encoder level one `a`, encoder level two `b`, then the upper decoder on `a` and the upsampled `b`, giving
`f`. Second pass: the lower decoder on the pooled `f` and `b`, giving `g`; then the same upper decoder on `f` and the
upsampled `g`; a 1^3 convolution gives the logits. No normalisation.

As published it works on every voxel of the crop. It may also work on a grid of its own, coarser and without the crop's
border, which a CPU can afford.

Source: the published release of the cochlear registration method (its weights, and the logits computed from them).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OUTSIDE_LOGIT = -20.0
"""Logit of the voxels that the network does not look at: certainly outside of every structure."""


class ConvPair(nn.Module):
    """Two 3^3 convolutions, each followed by a ReLU."""

    def __init__(self, in_channels: int, middle_channels: int, out_channels: int) -> None:
        """Make the layers; the size of the field is kept by zero padding."""
        super().__init__()
        self.first = nn.Conv3d(in_channels, middle_channels, 3, padding=1)
        self.second = nn.Conv3d(middle_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, I, J, K) features."""
        return self.after_first_convolution(self.first(features))

    def after_first_convolution(self, activation: Tensor) -> Tensor:
        """Do what `forward` does from the output of the first convolution (bias included) on."""
        return torch.relu(self.second(torch.relu(activation)))


class PublishedSegNet(nn.Module):
    """The published segmentation network; its default size and grid are the published ones.

    The network's own grid: of the crop, `margin` voxels are left out on every side, and `factor`^3 of the others make
    one voxel. Voxel x of the own grid has its centre at crop voxel `margin + (factor - 1) / 2 + factor * x`.
    """

    def __init__(self, *, base_width: int = 64, structures: int = 4, factor: int = 1, margin: int = 0) -> None:
        """Make the network.

        Args:
            base_width: channels at full resolution, an even number; twice as many at half resolution.
            structures: channels of the output.
            factor: crop voxels along each axis that make one voxel of the network's own grid.
            margin: crop voxels left out on each side.

        Raises:
            ValueError: when a parameter is out of its range.
        """
        super().__init__()
        if base_width < 2 or base_width % 2 or structures < 1:
            raise ValueError(f"expected an even base_width and structures >= 1, found {base_width} and {structures}")
        if factor < 1 or margin < 0:
            raise ValueError(f"expected factor >= 1 and margin >= 0, found {factor} and {margin}")
        self.base_width, self.structures, self.factor, self.margin = base_width, structures, factor, margin
        low = 2 * base_width
        self.encoder_upper = ConvPair(1, base_width, base_width)
        self.encoder_lower = ConvPair(base_width, low, low)
        self.decoder_lower = ConvPair(base_width + low, low, low)
        self.decoder_upper = ConvPair(base_width + low, low * 3 // 4, base_width)
        self.up_first = nn.ConvTranspose3d(low, low, 2, stride=2)
        self.up_second = nn.ConvTranspose3d(low, low, 2, stride=2)
        self.logits = nn.Conv3d(base_width, structures, 1)

    def forward(self, patient: Tensor) -> Tensor:
        """Segment a crop.

        Args:
            patient: (B, 1, I, J, K) patient crop, intensities in [-1, 1]; sizes that `own_shape` takes.

        Returns:
            (B, structures, I, J, K) logits; a voxel belongs to a structure where the sigmoid is above 0.5.
        """
        return self.on_crop(self.own_logits(self.look(patient)))

    def on_crop(self, logits: Tensor) -> Tensor:
        """Give (B, structures, I, J, K) logits on the crop from those on the own grid."""
        if self.factor > 1:  # trilinear, centres of voxels aligned
            logits = nn.functional.interpolate(logits, scale_factor=self.factor, mode="trilinear", align_corners=False)
        if self.margin:
            logits = nn.functional.pad(logits, (self.margin,) * 6, value=OUTSIDE_LOGIT)
        return logits

    def settings(self) -> dict[str, int]:
        """Give the keyword arguments that the network was made with."""
        return {
            "base_width": self.base_width,
            "structures": self.structures,
            "factor": self.factor,
            "margin": self.margin,
        }

    def own_shape(self, grid: Sequence[int]) -> tuple[int, int, int]:
        """Give the shape of the network's own grid on a crop of `grid` voxels.

        Raises:
            ValueError: when the crop without its margins does not divide into an even number of own voxels.
        """
        unit = 2 * self.factor
        inner = [size - 2 * self.margin for size in grid]
        if len(inner) != 3 or any(size < unit or size % unit for size in inner):
            expected = f"three sizes that are {2 * self.margin} plus a multiple of {unit}"
            raise ValueError(f"expected {expected}, found {tuple(grid)}")
        i, j, k = (size // self.factor for size in inner)
        return i, j, k

    def look(self, patient: Tensor) -> Tensor:
        """Give the (B, 1, i, j, k) means over the voxels of the own grid of a (B, 1, I, J, K) crop."""
        self.own_shape(patient.shape[2:])
        if self.margin:
            patient = nn.functional.pad(patient, (-self.margin,) * 6)
        return nn.functional.avg_pool3d(patient, self.factor) if self.factor > 1 else patient

    def own_logits(self, view: Tensor) -> Tensor:
        """Segment a (B, 1, i, j, k) view on the own grid, of even sizes, into (B, structures, i, j, k) logits."""
        return self.own_logits_from_activation(self.encoder_upper.first(view))

    def own_logits_from_activation(self, activation: Tensor) -> Tensor:
        """Give the logits on the own grid from the (B, base_width, i, j, k) output of the first convolution."""
        upper = self.encoder_upper.after_first_convolution(activation)
        lower = self.encoder_lower(nn.functional.max_pool3d(upper, 2))
        upper = self.decoder_upper(torch.cat([upper, self.up_first(lower)], dim=1))
        lower = self.decoder_lower(torch.cat([nn.functional.max_pool3d(upper, 2), lower], dim=1))
        upper = self.decoder_upper(torch.cat([upper, self.up_second(lower)], dim=1))
        result: Tensor = self.logits(upper)
        return result
