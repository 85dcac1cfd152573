"""Masks of moved surfaces, smooth in their vertices, for a Dice loss on the patient's own grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model.losses.occupancy import soft_occupancy
from model.meshes.mesh import SurfaceMesh


class SurfaceMasks(nn.Module):
    """Voxelizes the surfaces of an atlas softly, wherever their vertices were moved to."""

    def __init__(self, meshes_ijk: Mapping[str, SurfaceMesh], grid: Sequence[int]) -> None:
        """Keep the triangles.

        Args:
            meshes_ijk: closed outward surfaces by structure, crop voxels.
            grid: voxels of the crop along each axis.
        """
        super().__init__()
        self.grid = tuple(grid)
        self.counts = [len(mesh.vertices) for mesh in meshes_ijk.values()]
        # Not kept in checkpoints: a resumed run has the same atlas.
        for number, mesh in enumerate(meshes_ijk.values()):
            triangles = torch.from_numpy(np.asarray(mesh.triangles, dtype=np.int64))
            self.register_buffer(f"triangles{number}", triangles, persistent=False)

    def forward(self, moved_ijk: Tensor) -> Tensor:
        """Give the (B, C, I, J, K) memberships of the voxels, see `soft_occupancy`.

        Args:
            moved_ijk: (B, N, 3) vertices of all structures in order, crop voxels. What a network that has just begun
                throws far out of the crop counts as at most half its length outside.
        """
        size = torch.tensor(self.grid, dtype=moved_ijk.dtype, device=moved_ijk.device)
        near = torch.maximum(torch.minimum(moved_ijk, 1.5 * size), -0.5 * size)
        parts = near.split(self.counts, dim=1)
        return torch.stack(
            [soft_occupancy(part, getattr(self, f"triangles{n}"), self.grid) for n, part in enumerate(parts)], dim=1
        )
