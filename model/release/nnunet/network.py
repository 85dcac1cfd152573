"""The network of nnU-Net (version 1) in three dimensions, run from an image or from its first convolution's output.

With `block` = convolution with bias, instance norm (eps 1e-5, scale and shift), leaky ReLU (slope 0.01):

- down: each level is a few blocks, the first of which strides from the level before;
- up: transposed convolution without bias, whose kernel is its stride, then the skip after it along the channels, then
  as many blocks as on the way down;
- logits: a 1^3 convolution without bias at each level of the way up, for training; the last one counts.

A level on the way up has the kernel sizes of the level below it, not of its own: the published arithmetic.

Source: Isensee et al., Nature Methods 18 (2021) 203, doi 10.1038/s41592-020-01008-z, as its version 1 computes it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.release.nnunet.plans import Plans, Triple

_SLOPE = 0.01
_EPSILON = 1e-5


class Block(nn.Module):
    """Convolution, instance norm, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        """Make the layers; zeros around the field keep its size, but for the stride."""
        super().__init__()
        a, b, c = (size // 2 for size in kernel)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding=(a, b, c))
        self.norm = nn.InstanceNorm3d(out_channels, eps=_EPSILON, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, I, J, K) features."""
        return self.after_convolution(self.conv(features))

    def after_convolution(self, activation: Tensor) -> Tensor:
        """Do what `forward` does from the output of the convolution (bias included) on."""
        return nn.functional.leaky_relu(self.norm(activation), _SLOPE)


class NnUnet(nn.Module):
    """Encoder and decoder as the plans say.

    Attributes:
        encoders: blocks of the levels, finest first, the coarsest included.
        ups: transposed convolutions, coarsest first, as `decoders` and `heads`.
        decoders: blocks of the levels on the way up.
        heads: 1^3 convolutions to logits, of which only the last is used here.
    """

    def __init__(self, plans: Plans) -> None:
        """Make the layers."""
        super().__init__()
        widths, kernels, count = plans.widths, plans.kernels, plans.convolutions
        self.encoders, self.ups = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.heads = nn.ModuleList(), nn.ModuleList()
        before = plans.modalities
        for width, kernel, stride in zip(widths, kernels, ((1, 1, 1), *plans.pools), strict=True):
            self.encoders.append(_blocks(before, width, count, kernel, stride))
            before = width
        for level in reversed(range(len(plans.pools))):
            width, stride = widths[level], plans.pools[level]
            self.ups.append(nn.ConvTranspose3d(widths[level + 1], width, stride, stride, bias=False))
            self.decoders.append(_blocks(2 * width, width, count, kernels[level + 1]))
            self.heads.append(nn.Conv3d(width, plans.classes, 1, bias=False))

    @property
    def first(self) -> Block:
        """The block whose convolution an activation map replaces."""
        block: Block = self.encoders[0][0]  # type: ignore[index]
        return block

    def forward(self, image: Tensor) -> Tensor:
        """Give (B, classes, I, J, K) logits of a (B, modalities, I, J, K) preprocessed image."""
        return self.from_activation(self.first.conv(image))

    def from_activation(self, activation: Tensor) -> Tensor:
        """Give (B, classes, I, J, K) logits from the output of the first convolution (bias included)."""
        features: Tensor = self.encoders[0][1:](self.first.after_convolution(activation))  # type: ignore[index]
        skips = []
        for level in self.encoders[1:]:
            skips.append(features)
            features = level(features)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            features = decoder(torch.cat((up(features), skips.pop()), dim=1))
        logits: Tensor = self.heads[-1](features)
        return logits


def _blocks(before: int, width: int, count: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> nn.Sequential:
    """Make the blocks of a level, of which the first changes channels and size."""
    return nn.Sequential(Block(before, width, kernel, stride), *(Block(width, width, kernel) for _ in range(count - 1)))


def layer_names(plans: Plans) -> dict[str, str]:
    """Give the layers as nnU-Net names them, and as `NnUnet` does.

    There the last block of the coarsest level and of every level on the way up stands in a list of its own.
    """
    levels, count = len(plans.pools), plans.convolutions
    places = {}
    for level in range(levels):
        for block in range(count):
            places[f"conv_blocks_context.{level}.blocks.{block}"] = f"encoders.{level}.{block}"
    for group, here in [
        (f"conv_blocks_context.{levels}", f"encoders.{levels}"),
        *((f"conv_blocks_localization.{level}", f"decoders.{level}") for level in range(levels)),
    ]:
        for block in range(count):
            place = f"0.blocks.{block}" if block < count - 1 else "1.blocks.0"
            places[f"{group}.{place}"] = f"{here}.{block}"
    names = {f"{theirs}.conv": f"{ours}.conv" for theirs, ours in places.items()}
    names |= {f"{theirs}.instnorm": f"{ours}.norm" for theirs, ours in places.items()}
    for level in range(levels):
        names |= {f"tu.{level}": f"ups.{level}", f"seg_outputs.{level}": f"heads.{level}"}
    return names
