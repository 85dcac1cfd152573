"""A compact registration network whose fields are B-splines, coarse to fine; sized for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.registration.control_grid import expand


class ConvBlock(nn.Module):
    """Two 3^3 convolutions with group normalisation and a residual connection."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        """Make the block; the first convolution carries the stride."""
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(8, out_channels),
            nn.SiLU(inplace=True),
        )
        self.second = nn.Sequential(
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, out_channels),
        )
        self.activation = nn.SiLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, I, J, K) features."""
        first = self.first(features)
        result: Tensor = self.activation(first + self.second(first))
        return result


class FieldNet(nn.Module):
    """From two images to the control coefficients of a displacement field, from coarse to fine scales."""

    def __init__(self, widths: Sequence[int], finest: int, stack: int = 1) -> None:
        """Make the network.

        Args:
            widths: channels at 1/2, 1/4, 1/8 ... of the resolution of the cells; multiples of eight.
            finest: index into `widths` of the finest scale that has control coefficients.
            stack: samples along each edge of a cell; the samples of a cell are its channels.
        """
        super().__init__()
        self.stack = stack
        ins = [2 * stack**3, *widths[:-1]]
        self.encoders = nn.ModuleList(ConvBlock(a, b, stride=2) for a, b in zip(ins, widths, strict=True))
        scales = range(len(widths) - 2, finest - 1, -1)
        self.decoders = nn.ModuleList(ConvBlock(widths[i + 1] + widths[i], widths[i]) for i in scales)
        self.heads = nn.ModuleList(nn.Conv3d(widths[i], 3, 3, padding=1) for i in (len(widths) - 1, *scales))
        for head in self.heads:
            # The untrained network is the identity.
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(self, patient: Tensor, atlas: Tensor) -> list[Tensor]:
        """Give (B, 3, g, g, g) control coefficients in crop voxels, coarse to fine, for (B, 1, n, n, n) images."""
        features = torch.cat([samples_to_channels(image, self.stack) for image in (patient, atlas)], dim=1)
        skips = []
        for encoder in self.encoders:
            features = encoder(features)
            skips.append(features)
        skips.pop()
        coefficients = [self.heads[0](features)]
        for decoder, head in zip(self.decoders, list(self.heads)[1:], strict=True):
            up = nn.functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)
            features = decoder(torch.cat([up, skips.pop()], dim=1))
            coefficients.append(head(features))
        return coefficients


def samples_to_channels(image: Tensor, stack: int) -> Tensor:
    """Turn the stack^3 samples of each cell of a (B, C, n, n, n) image into channels: (B, C * stack^3, n/stack, ...).

    Convolutions then cost what they do at the resolution of the cells, and nothing of the image is lost.
    """
    if stack == 1:
        return image
    batch, channels = image.shape[:2]
    cells = [size // stack for size in image.shape[2:]]
    split = image.reshape(batch, channels, cells[0], stack, cells[1], stack, cells[2], stack)
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * stack**3, *cells)


class CoarseToFineNet(nn.Module):
    """A registration network run in several passes, each correcting what the passes before it left.

    The images are seen on `samples * stack` equally spaced points spanning the voxels `region[0]..region[1]` of each
    axis of the crop; the network's own scales are those of `samples` cells. Every pass sees the patient image pulled
    back by the field of the passes before it: fields compose, and an atlas point p moves first by the last pass's
    field, then by the earlier ones. All passes share their weights.

    Source: recursive cascades with shared weights (Zhao et al., ICCV 2019, doi 10.1109/ICCV.2019.01070).
    """

    def __init__(
        self,
        *,
        grid: int = 128,
        region: Sequence[int] = (16, 111),
        samples: int = 64,
        passes: int = 2,
        widths: Sequence[int] = (32, 64, 128, 128),
        finest: int = 1,
        stack: int = 1,
    ) -> None:
        """Make the network.

        Args:
            grid: voxels of the crop along each axis.
            region: first and last voxel seen along each axis.
            samples: cells across the region; a multiple of 2 ** len(widths).
            passes: times the network is run, each on what the last pass left.
            widths: channels at 1/2, 1/4, 1/8 ... of the resolution of the cells.
            finest: index into `widths` of the finest scale that has control coefficients.
            stack: samples of the image along each edge of a cell.

        Raises:
            ValueError: when a parameter is out of its range.
        """
        super().__init__()
        unit = 2 ** len(widths)
        if samples % unit or samples < 4 * unit:
            raise ValueError(f"samples: expected a multiple of {unit}, at least {4 * unit}, found {samples}")
        if not 0 <= region[0] < region[1] < grid:
            raise ValueError(f"region: expected 0 <= first < last < {grid}, found {tuple(region)}")
        if passes < 1:
            raise ValueError(f"passes: expected at least 1, found {passes}")
        if not 0 <= finest < len(widths):
            raise ValueError(f"finest: expected 0 to {len(widths) - 1}, found {finest}")
        if stack < 1:
            raise ValueError(f"stack: expected at least 1, found {stack}")
        self.grid, self.samples, self.stack = grid, samples, stack
        self.first, self.last = float(region[0]), float(region[1])
        self.passes = passes
        self.field_net = FieldNet(widths, finest, stack)

    def forward(self, patient: Tensor, atlas: Tensor) -> Tensor:
        """Register.

        Args:
            patient: (B, 1, grid, grid, grid) patient crop, intensities in [-1, 1].
            atlas: atlas image of the same shape.

        Returns:
            (B, 3, grid, grid, grid) displacement in crop voxels: atlas point p lies at p + ddf(p) in the patient.
        """
        fields = self.fields(self.look(patient), self.look(atlas))
        axis = torch.arange(self.grid, dtype=patient.dtype, device=patient.device)
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        points = points.reshape(1, -1, 3).expand(len(patient), -1, -1)
        moved = self.move(points, fields)
        ddf: Tensor = (moved - points).transpose(1, 2).unflatten(2, (self.grid,) * 3)
        return ddf

    def look(self, image: Tensor) -> Tensor:
        """Give the (B, 1, n, n, n) view of a (B, 1, grid^3) crop that the network sees, n = samples * stack."""
        line = torch.linspace(self.first, self.last, self.samples * self.stack, dtype=image.dtype, device=image.device)
        line = line / (self.grid - 1) * 2 - 1
        where = torch.stack(torch.meshgrid(line, line, line, indexing="ij")[::-1], dim=-1)
        return nn.functional.grid_sample(
            image, where[None].expand(len(image), -1, -1, -1, -1), padding_mode="border", align_corners=True
        )

    def fields(self, patient_view: Tensor, atlas_view: Tensor) -> list[Tensor]:
        """Give each pass's (B, 3, samples/2, ...) field over the region, in crop voxels, in the order of the passes."""
        found: list[Tensor] = []
        view = patient_view
        for _ in range(self.passes):
            if found:
                # What a pass sees is given to it: no gradient flows through the image that the passes before it moved.
                view = self.pull_back(patient_view, [field.detach() for field in found])
            found.append(self._expand(self.field_net(view, atlas_view)))
        return found

    def move(self, points_ijk: Tensor, fields: Sequence[Tensor]) -> Tensor:
        """Carry (B, N, 3) atlas points in crop voxels into the patient by the composed fields."""
        for field in reversed(fields):
            points_ijk = points_ijk + self._sample(field, points_ijk)
        return points_ijk

    def _expand(self, coefficients: Sequence[Tensor]) -> Tensor:
        """Sum (B, 3, g, g, g) control grids into one (B, 3, n, n, n) field over the region, n half the samples."""
        shape = (self.samples // 2,) * 3
        dense = [expand(level.flatten(0, 1), shape) for level in coefficients]
        total: Tensor = torch.stack(dense).sum(0).unflatten(0, coefficients[0].shape[:2])
        return total

    def _sample(self, field: Tensor, points_ijk: Tensor) -> Tensor:
        """Interpolate a field over the region at (B, N, 3) points; beyond the region its border value holds."""
        unit = (points_ijk - self.first) / (self.last - self.first) * 2 - 1
        values = nn.functional.grid_sample(
            field, unit.flip(-1)[:, None, None], padding_mode="border", align_corners=True
        )
        return values[:, :, 0, 0].transpose(1, 2)

    def pull_back(self, view: Tensor, fields: Sequence[Tensor]) -> Tensor:
        """See (B, C, n, n, n) views of patients through the fields: the value at x is the patient's at the moved x."""
        line = torch.linspace(self.first, self.last, self.samples, dtype=view.dtype, device=view.device)
        points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)
        moved = self.move(points.reshape(1, -1, 3).expand(len(view), -1, -1), fields)
        unit = (moved - self.first) / (self.last - self.first) * 2 - 1
        where = unit.flip(-1).unflatten(1, (self.samples,) * 3)
        if self.stack > 1:
            # The fields are smooth: between the cells' points the map is interpolated.
            size = (self.samples * self.stack,) * 3
            where = where.movedim(-1, 1)
            where = nn.functional.interpolate(where, size, mode="trilinear", align_corners=True).movedim(1, -1)
        return nn.functional.grid_sample(view, where, padding_mode="border", align_corners=True)
