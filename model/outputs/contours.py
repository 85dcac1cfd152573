"""Where a surface cuts an image plane."""

from __future__ import annotations

import numpy as np

from model.meshes.mesh import FloatArray, SurfaceMesh


def plane_segments(mesh_ijk: SurfaceMesh, axis: int, position: float) -> FloatArray:
    """Cut a surface with a plane of constant voxel index.

    Args:
        mesh_ijk: surface in voxel indices.
        axis: 0, 1 or 2, the axis that is constant on the plane.
        position: voxel index of the plane along `axis`.

    Returns:
        (S, 2, 2) line segments; the coordinates are the two other axes, in their order.
    """
    corners = mesh_ijk.vertices[mesh_ijk.triangles]
    height = corners[:, :, axis] - position
    above = height >= 0
    cut = above.any(axis=1) & ~above.all(axis=1)
    corners, height, above = corners[cut], height[cut], above[cut]
    # The corner that is alone on its side belongs to both edges that are cut.
    alone = np.argmax(above == (above.sum(axis=1) == 1)[:, None], axis=1)
    rows = np.arange(len(corners))
    others = [axis_index for axis_index in range(3) if axis_index != axis]
    ends = []
    for step in (1, 2):
        other = (alone + step) % 3
        share = height[rows, alone] / (height[rows, alone] - height[rows, other])
        point = corners[rows, alone] + share[:, None] * (corners[rows, other] - corners[rows, alone])
        ends.append(point[:, others])
    return np.stack(ends, axis=1)
