"""What a loss compares: what a network made of a batch, and what it should have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """What a network made of a batch.

    Attributes:
        points: (B, N, 3) moved atlas points in crop voxels, structure after structure.
        counts: points of each structure, in that order.
        fields: displacement fields to keep regular, (B, 3, i, j, k) in crop voxels each.
        field_spacing: crop voxels between the samples of the fields.
        warped_image: (B, 1, I, J, K) patient image pulled back onto the atlas, or none.
        warped_masks: (B, C, I, J, K) patient masks pulled back likewise, or the soft occupancy of the moved surfaces
            when the target's masks are the patient's; or none. Only structures that the cases have.
    """

    points: Tensor
    counts: Mapping[str, int]
    fields: Sequence[Tensor] = ()
    field_spacing: float = 1.0
    warped_image: Tensor | None = None
    warped_masks: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """What a network should have made of a batch.

    Attributes:
        points: true points in crop voxels: (B, N, 3), ordered as the prediction's; or of each structure (B, M, 3), or
            (M, 3) for a batch of one. A structure that is not there is left out of the loss.
        corresponding: whether the m-th true point of a structure is where its m-th predicted point should be.
        normals: unit normals at the points, in the same form, or none.
        atlas_image: (B, 1, I, J, K) image the warped image should be like, or none.
        masks: (B, C, I, J, K) masks the warped masks should cover, or none.
    """

    points: Tensor | Mapping[str, Tensor]
    corresponding: bool
    normals: Tensor | Mapping[str, Tensor] | None = None
    atlas_image: Tensor | None = None
    masks: Tensor | None = None
