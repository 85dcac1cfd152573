"""Distances between surfaces in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from model.meshes.mesh import FloatArray, SurfaceMesh

_SAMPLES_PER_MM2 = 60.0
_MIN_SAMPLES, _MAX_SAMPLES = 2_000, 60_000


@dataclass(frozen=True)
class SurfaceDistance:
    """Symmetric distances between two surfaces, in millimetres.

    Attributes:
        mean_mm: mean over both directions.
        hausdorff95_mm: 95th percentile, the larger of both directions.
        max_mm: largest distance, either direction (Hausdorff distance).
    """

    mean_mm: float
    hausdorff95_mm: float
    max_mm: float

    @classmethod
    def of(cls, forward_mm: FloatArray, backward_mm: FloatArray) -> SurfaceDistance:
        """Summarise the distances of both directions, (N,) and (M,) in mm."""
        return cls(
            mean_mm=float((forward_mm.mean() + backward_mm.mean()) / 2),
            hausdorff95_mm=float(max(np.percentile(forward_mm, 95), np.percentile(backward_mm, 95))),
            max_mm=float(max(forward_mm.max(), backward_mm.max())),
        )


def point_to_point_mm(
    predicted_mm: npt.NDArray[np.floating], truth_mm: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Give the distance of every vertex from where it should be.

    Args:
        predicted_mm: (N, 3) vertices in mm.
        truth_mm: (N, 3) the corresponding vertices in the same space.

    Returns:
        (N,) distances in mm.

    Raises:
        ValueError: when there is no correspondence, that is when the shapes differ.
    """
    if predicted_mm.shape != truth_mm.shape:
        raise ValueError(
            f"point_to_point_mm: expected corresponding vertices, found {predicted_mm.shape} and {truth_mm.shape}"
        )
    difference = np.asarray(predicted_mm, dtype=np.float64) - np.asarray(truth_mm, dtype=np.float64)
    return np.asarray(np.linalg.norm(difference, axis=1), dtype=np.float64)


def surface_distance(first_mm: SurfaceMesh, second_mm: SurfaceMesh) -> SurfaceDistance:
    """Compare two surfaces without correspondence.

    Both are sampled evenly (about 60 points per mm2, so that triangle size does not matter). A sample is measured to
    the nearest sample of the other surface, less the offset along that surface that the sampling itself causes, so that
    equal surfaces with different triangles are at distance zero.

    Args:
        first_mm: surface in millimetres.
        second_mm: surface in the same space.

    Raises:
        ValueError: when the spaces differ or are not in millimetres.
    """
    forward, backward = surface_errors_mm(first_mm, second_mm)
    return SurfaceDistance.of(forward, backward)


def surface_errors_mm(first_mm: SurfaceMesh, second_mm: SurfaceMesh) -> tuple[FloatArray, FloatArray]:
    """Give the distances that `surface_distance` summarises.

    Returns:
        (N,) distances of the first surface's samples to the second, (M,) of the second's to the first, in mm.

    Raises:
        ValueError: when the spaces differ or are not in millimetres.
    """
    if first_mm.space != second_mm.space or first_mm.space == "ijk":
        raise ValueError(f"surface_distance: expected one space in mm, found {first_mm.space} and {second_mm.space}")
    one, other = sample_surface(first_mm), sample_surface(second_mm)
    return _distances(one, other), _distances(other, one)


@dataclass(frozen=True)
class SurfaceSamples:
    """Points spread evenly over a surface.

    Attributes:
        points: (N, 3) positions.
        normals: (N, 3) unit normals of the triangles they lie in, zero in degenerate ones.
        spacing: typical distance between neighbours.
    """

    points: FloatArray
    normals: FloatArray
    spacing: float


def sample_surface(mesh_mm: SurfaceMesh) -> SurfaceSamples:
    """Spread points evenly over a surface in millimetres; always the same ones."""
    corners = mesh_mm.vertices[mesh_mm.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    total = float(lengths.sum() / 2)
    count = int(np.clip(total * _SAMPLES_PER_MM2, _MIN_SAMPLES, _MAX_SAMPLES))
    # Equal steps along the running area, and the R2 low-discrepancy sequence within the triangles.
    steps = (np.arange(count) + 0.5) / count * lengths.sum()
    triangle = np.minimum(np.searchsorted(np.cumsum(lengths), steps), len(lengths) - 1)
    shares = np.mod(np.arange(count)[:, None] * [0.7548776662466927, 0.5698402909980532], 1.0)
    folded = shares.sum(axis=1) > 1
    shares[folded] = 1 - shares[folded]
    a, b, c = (corners[triangle, at] for at in range(3))
    points = a + shares[:, :1] * (b - a) + shares[:, 1:] * (c - a)
    unit = normals[triangle] / np.maximum(lengths[triangle], 1e-12)[:, None]
    return SurfaceSamples(points, unit, float(np.sqrt(total / count)))


def _distances(samples: SurfaceSamples, target: SurfaceSamples) -> FloatArray:
    """Distance of samples to another surface: across it in full, along it less the spacing of its samples."""
    _, nearest = cKDTree(target.points).query(samples.points)
    offset = samples.points - target.points[nearest]
    across = np.einsum("ij,ij->i", offset, target.normals[nearest])
    along = np.linalg.norm(offset - across[:, None] * target.normals[nearest], axis=1)
    return np.asarray(np.hypot(across, np.maximum(along - 1.5 * target.spacing, 0.0)))
