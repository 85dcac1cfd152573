"""The published registration network: an encoder-decoder that maps patient and atlas to a displacement field.

Arithmetic per level, with `block` = 3^3 convolution, batch norm, ReLU:

- encoder: `first = block(x)`; `x = maxpool2(relu(first + bn(conv(block(first)))))`; the skip is `first`;
- decoder: `up = relu(bn(transposed_conv2(x))) + halves_summed(trilinear2(x))`;
  `x = relu(up + skip + bn(conv(block(up))))`: the skip joins the residual sum, not the input of the convolutions;
- field: one more 3^3 convolution to three channels, plus a learned bias.

Source: the published release of the cochlear registration method (its weights, and the fields computed from them), in
the line of LocalNet (Hu et al., Medical Image Analysis 49 (2018) 1, doi 10.1016/j.media.2018.07.002).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE_CHANNELS = 2
"""Patient, then atlas."""


class ConvNorm(nn.Module):
    """3^3 convolution and batch norm, without the activation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Make the layers; the size of the field is kept by zero padding."""
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm3d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, I, J, K) features."""
        result: Tensor = self.norm(self.conv(features))
        return result


class EncoderLevel(nn.Module):
    """Three convolutions with a residual sum, then 2x max pooling."""

    def __init__(self, in_channels: int, channels: int) -> None:
        """Make the level."""
        super().__init__()
        self.first = ConvNorm(in_channels, channels)
        self.second = ConvNorm(channels, channels)
        self.third = ConvNorm(channels, channels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Give the features for the next level, half as large, and those for the decoder."""
        return self.after_first_convolution(self.first.conv(features))

    def after_first_convolution(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `forward` does from the output of the first convolution (bias included) on."""
        first = torch.relu(self.first.norm(activation))
        residual = self.third(torch.relu(self.second(first)))
        return nn.functional.max_pool3d(torch.relu(residual + first), 2), first


class DecoderLevel(nn.Module):
    """2x upsampling on two ways, then two convolutions with a residual sum."""

    def __init__(self, channels: int) -> None:
        """Make the level, which takes twice as many channels as it gives."""
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(2 * channels, channels, 2, stride=2)
        self.up_norm = nn.BatchNorm3d(channels)
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Give (B, channels, 2I, 2J, 2K) features from (B, 2 channels, I, J, K) ones and the encoder's skip."""
        # Summing the halves first and interpolating half the channels then is the same, both being linear.
        halves = torch.stack(features.chunk(2, dim=1)).sum(0)
        smooth = nn.functional.interpolate(halves, scale_factor=2, mode="trilinear", align_corners=False)
        up = torch.relu(self.up_norm(self.up_conv(features))) + smooth
        residual = self.second(torch.relu(self.first(up)))
        return torch.relu(residual + (up + skip))


class PublishedRegistrationNet(nn.Module):
    """The published network; its default size is the published one, 3,836,838 parameters."""

    def __init__(self, *, base_width: int = 32, levels: int = 3) -> None:
        """Make the network.

        Args:
            base_width: channels of the first level; every level has twice the channels of the one before.
            levels: encoder levels, each halving the resolution.

        Raises:
            ValueError: when a parameter is out of its range.
        """
        super().__init__()
        # With a width of one, an atlas image and a first activation could not be told apart.
        if base_width < 2 or levels < 1:
            raise ValueError(f"expected base_width >= 2 and levels >= 1, found {base_width} and {levels}")
        widths = [base_width * 2**level for level in range(levels)]
        ins = [IMAGE_CHANNELS, *widths[:-1]]
        self.base_width, self.levels = base_width, levels
        self.encoders = nn.ModuleList(EncoderLevel(a, b) for a, b in zip(ins, widths, strict=True))
        self.bottleneck = ConvNorm(widths[-1], 2 * widths[-1])
        self.decoders = nn.ModuleList(DecoderLevel(width) for width in reversed(widths))
        self.field = nn.Conv3d(base_width, 3, 3, padding=1)
        self.field_bias = nn.Parameter(torch.zeros(3))

    def forward(self, patient: Tensor, atlas: Tensor) -> Tensor:
        """Register.

        Args:
            patient: (B, 1, I, J, K) patient crop, intensities in [-1, 1]; sizes are multiples of 2 ** levels.
            atlas: the atlas image, (B, 1, I, J, K) in [-1, 1]; or, where the image is not at hand, the first
                convolution's output for (0, atlas image), bias included: (B, base_width, I, J, K).

        Returns:
            (B, 3, I, J, K) displacement in crop voxels, channel c along axis c: atlas point p lies at p + ddf(p).

        Raises:
            ValueError: when the shapes do not fit.
        """
        return self.field_from_activation(self.first_activation(patient, atlas))

    def first_activation(self, patient: Tensor, atlas: Tensor) -> Tensor:
        """Give the (B, base_width, I, J, K) output of the first convolution; arguments as for `forward`."""
        if patient.shape[1] != 1 or atlas.shape[1] not in (1, self.base_width) or atlas.shape[2:] != patient.shape[2:]:
            raise ValueError(
                f"expected patient (B, 1, I, J, K) and atlas (B, 1 or {self.base_width}, I, J, K), "
                f"found {tuple(patient.shape)} and {tuple(atlas.shape)}"
            )
        conv: nn.Conv3d = self.encoders[0].first.conv  # type: ignore[union-attr, assignment]
        if atlas.shape[1] == 1:
            result: Tensor = conv(torch.cat([patient, atlas], dim=1))
            return result
        # Convolution is linear: conv(patient, atlas) = conv(patient, 0) + conv(0, atlas), the bias counted once.
        patient_part = nn.functional.conv3d(patient, conv.weight[:, :1], None, padding=1)
        return patient_part + atlas

    def field_from_activation(self, activation: Tensor) -> Tensor:
        """Give the displacement from the (B, base_width, I, J, K) output of the first convolution on both images."""
        unit = 2**self.levels
        if any(size % unit for size in activation.shape[2:]):
            raise ValueError(f"expected sizes that are multiples of {unit}, found {tuple(activation.shape[2:])}")
        first, *others = self.encoders
        features, skip = first.after_first_convolution(activation)  # type: ignore[operator]
        skips = [skip]
        for encoder in others:
            features, skip = encoder(features)
            skips.append(skip)
        features = torch.relu(self.bottleneck(features))
        for decoder in self.decoders:
            features = decoder(features, skips.pop())
        result: Tensor = self.field(features) + self.field_bias[:, None, None, None]
        return result
