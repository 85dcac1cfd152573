"""The published segmentation network: a two-level U-Net that runs its upper decoder twice.

First pass: encoder level one `a`, encoder level two `b`, then the upper decoder on `a` and the upsampled `b`, giving
`f`. Second pass: the lower decoder on the pooled `f` and `b`, giving `g`; then the same upper decoder on `f` and the
upsampled `g`; a 1^3 convolution gives the logits. No normalisation.

Source: the published release of the cochlear registration method (its weights, and the logits computed from them).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvPair(nn.Module):
    """Two 3^3 convolutions, each followed by a ReLU."""

    def __init__(self, in_channels: int, middle_channels: int, out_channels: int) -> None:
        """Make the layers; the size of the field is kept by zero padding."""
        super().__init__()
        self.first = nn.Conv3d(in_channels, middle_channels, 3, padding=1)
        self.second = nn.Conv3d(middle_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, I, J, K) features."""
        return torch.relu(self.second(torch.relu(self.first(features))))


class PublishedSegNet(nn.Module):
    """The published segmentation network; its default size is the published one."""

    def __init__(self, *, base_width: int = 64, structures: int = 4) -> None:
        """Make the network.

        Args:
            base_width: channels at full resolution, an even number; twice as many at half resolution.
            structures: channels of the output.

        Raises:
            ValueError: when a parameter is out of its range.
        """
        super().__init__()
        if base_width < 2 or base_width % 2 or structures < 1:
            raise ValueError(f"expected an even base_width and structures >= 1, found {base_width} and {structures}")
        low = 2 * base_width
        self.encoder_upper = ConvPair(1, base_width, base_width)
        self.encoder_lower = ConvPair(base_width, low, low)
        self.decoder_lower = ConvPair(base_width + low, low, low)
        self.decoder_upper = ConvPair(base_width + low, low * 3 // 4, base_width)
        self.up_first = nn.ConvTranspose3d(low, low, 2, stride=2)
        self.up_second = nn.ConvTranspose3d(low, low, 2, stride=2)
        self.logits = nn.Conv3d(base_width, structures, 1)

    def forward(self, patient: Tensor) -> Tensor:
        """Segment.

        Args:
            patient: (B, 1, I, J, K) patient crop, intensities in [-1, 1]; even sizes.

        Returns:
            (B, structures, I, J, K) logits; a voxel belongs to a structure where the sigmoid is above 0.5.
        """
        upper = self.encoder_upper(patient)
        lower = self.encoder_lower(nn.functional.max_pool3d(upper, 2))
        upper = self.decoder_upper(torch.cat([upper, self.up_first(lower)], dim=1))
        lower = self.decoder_lower(torch.cat([nn.functional.max_pool3d(upper, 2), lower], dim=1))
        upper = self.decoder_upper(torch.cat([upper, self.up_second(lower)], dim=1))
        result: Tensor = self.logits(upper)
        return result
