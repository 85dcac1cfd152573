"""Carrying atlas points into the patient by a displacement field."""

from __future__ import annotations

from torch import Tensor

from model.registration.rules import SamplerRule
from model.registration.sampler import sample_field


def warp_vertices(vertices_ijk: Tensor, ddf_ijk: Tensor, rule: SamplerRule = "trilinear") -> Tensor:
    """Move points by a displacement field.

    Args:
        vertices_ijk: (N, 3) positions in crop voxels, or (B, N, 3).
        ddf_ijk: (3, I, J, K) displacement in crop voxels, channel c along axis c, or (B, 3, I, J, K).
        rule: how the field is read between voxel centres, see `sample_field`.

    Returns:
        p + ddf(p) for every point, in the shape of the points; differentiable.

    Raises:
        ValueError: when the shapes do not fit.
    """
    if ddf_ijk.shape[-4] != 3:
        raise ValueError(f"expected a field of three channels, found {tuple(ddf_ijk.shape)}")
    return vertices_ijk + sample_field(ddf_ijk, vertices_ijk, rule)
