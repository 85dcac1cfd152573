"""What a registration network makes of two images, the same for networks of one field and of several passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.networks.coarse_to_fine import CoarseToFineNet
from model.registration.rules import SamplerRule
from model.registration.sampler import sample_field


@dataclass(frozen=True)
class Registration:
    """What a network found for a batch.

    Attributes:
        fields: (B, 3, i, j, k) displacement fields in crop voxels, one for each pass.
        field_spacing: crop voxels between their samples.
        move: carries (B, N, 3) atlas points in crop voxels into some cases of the batch by the first so many passes.
        ddf: gives the (B, 3, I, J, K) displacement on the grid of the crop.
    """

    fields: Sequence[Tensor]
    field_spacing: float
    move: Callable[[Tensor, int, slice], Tensor]
    ddf: Callable[[], Tensor]


def register_views(network: CoarseToFineNet, patient_view: Tensor, atlas_view: Tensor) -> Registration:
    """Register by a network of passes.

    Args:
        network: the network.
        patient_view: (B, 1, n, n, n) what it sees of the patients.
        atlas_view: (1, 1, n, n, n) what it sees of the atlas.
    """
    fields = network.fields(patient_view, atlas_view.expand(len(patient_view), -1, -1, -1, -1))
    # Fields in half precision would round positions to a quarter of a voxel.
    fields = [field.float() for field in fields]
    spacing = (network.last - network.first) / (fields[0].shape[2] - 1)

    def move(points_ijk: Tensor, passes: int, cases: slice) -> Tensor:
        moved: Tensor = network.move(points_ijk, [field[cases] for field in fields[:passes]])
        return moved

    def ddf() -> Tensor:
        axis = torch.arange(float(network.grid), device=patient_view.device)
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        points = points.reshape(1, -1, 3).expand(len(patient_view), -1, -1)
        offsets = move(points, len(fields), slice(None)) - points
        dense: Tensor = offsets.transpose(1, 2).unflatten(2, (network.grid,) * 3)
        return dense

    return Registration(fields, spacing, move, ddf)


def register_crops(network: nn.Module, patient: Tensor, atlas: Tensor, rule: SamplerRule) -> Registration:
    """Register by a network that gives one field on the grid of the crop.

    Args:
        network: maps patient and atlas to a (B, 3, I, J, K) field in crop voxels.
        patient: (B, 1, I, J, K) crops in [-1, 1].
        atlas: (1, 1, I, J, K) the atlas image.
        rule: how the field is read at points.
    """
    field: Tensor = network(patient, atlas.expand(len(patient), -1, -1, -1, -1)).float()

    def move(points_ijk: Tensor, passes: int, cases: slice) -> Tensor:
        return points_ijk + sample_field(field[cases], points_ijk, rule) if passes else points_ijk

    return Registration([field], 1.0, move, lambda: field)
