"""The edge between lumen and bone: how far a surface lies on it, and where an atlas has one that can be followed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.meshes.mesh import SurfaceMesh
from model.registration.control_grid import sample_spanning


def edge_reliability(
    atlas_image: npt.NDArray[np.float32],
    surface_ijk: SurfaceMesh,
    spacing_mm: float,
    depths_mm: Sequence[float],
    full_edge: float,
) -> npt.NDArray[np.float32]:
    """Give how far each vertex of the atlas's labyrinth lies on an edge from dark to bright that can be followed.

    Towards the modiolus, at the windows and where a label was filled, the surface is no such edge even in the mean
    image; drawing it to what happens to be dark there would pull the inside of the cochlea along.

    Args:
        atlas_image: [I, J, K] mean image, intensities in [-1, 1].
        surface_ijk: the atlas's labyrinth, crop voxels, outward.
        spacing_mm: voxel of the crop.
        depths_mm: distances from the surface, inward and outward, at which the image is compared.
        full_edge: difference between outside and inside from which an edge counts fully.

    Returns:
        (N,) float32: 0 where the inside is not darker than the outside, 1 from `full_edge` on.
    """
    vertices = torch.from_numpy(surface_ijk.vertices).float()
    offsets = _offsets(vertex_normals(vertices, triangles_of(surface_ijk)), torch.tensor(depths_mm) / spacing_mm)
    stack = torch.from_numpy(atlas_image[None])
    outside, inside = (_sampled(stack, vertices[None] + sign * offsets)[..., 0] for sign in (1, -1))
    step = (outside - inside).mean(dim=0)
    return np.asarray((step / full_edge).clamp(0, 1).numpy(), dtype=np.float32)


def edge_loss(
    image_and_trust: Tensor, points: Tensor, normals: Tensor, weights: Tensor, depths: Tensor, contrast: float
) -> Tensor:
    """Give the weighted mean of inside minus outside, each pair limited to a contrast.

    Args:
        image_and_trust: (2, I, J, K) intensities in [-1, 1], and how far each is trusted, 0 to 1.
        points: (P, 3) points of the surface, crop voxels.
        normals: (P, 3) outward unit normals.
        weights: (P,) weight of each point.
        depths: distances from the surface at which the image is compared, voxels.
        contrast: difference beyond which an edge counts no more than any other.

    Returns:
        A number from -contrast (sharp edges everywhere) to contrast.
    """
    offsets = _offsets(normals, depths)
    outside, inside = (_sampled(image_and_trust, points[None] + sign * offsets) for sign in (1, -1))
    step = contrast * torch.tanh((inside[..., 0] - outside[..., 0]) / contrast)
    trusted = weights * (inside[..., 1] * outside[..., 1]).detach()
    loss: Tensor = (trusted * step).sum() / weights.sum().clamp(min=1e-6) / len(depths)
    return loss


def triangles_of(surface: SurfaceMesh) -> Tensor:
    """Give the (T, 3) triangles of a surface as a tensor of indices."""
    return torch.from_numpy(surface.triangles.astype(np.int64))


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Give (N, 3) outward unit normals, the mean of the triangles at each vertex weighted by their areas."""
    faces = _face_normals(vertices, triangles)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(0, triangles[:, corner], faces)
    return torch.nn.functional.normalize(normals, dim=1)


def vertex_areas(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Give (N,) areas of the surface that each vertex stands for, squared unit of the vertices."""
    faces = _face_normals(vertices, triangles).norm(dim=1) / 6
    areas = vertices.new_zeros(len(vertices))
    for corner in range(3):
        areas.index_add_(0, triangles[:, corner], faces)
    return areas


def _face_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Give (T, 3) outward normals as long as twice the area of their triangle."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normals: Tensor = torch.linalg.cross(b - a, c - a)
    return normals


def _offsets(normals: Tensor, depths: Tensor) -> Tensor:
    """Give (D, P, 3) steps along the normals."""
    return depths[:, None, None] * normals[None]


def _sampled(stack: Tensor, points: Tensor) -> Tensor:
    """Sample (C, I, J, K) images at (D, P, 3) points: (D, P, C)."""
    values: Tensor = sample_spanning(stack, points.reshape(-1, 3), stack.shape[1:]).unflatten(0, points.shape[:2])
    return values
