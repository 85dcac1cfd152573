"""Surfaces with known shape, for tests."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from model.meshes.mesh import Space, SurfaceMesh


def sphere(
    radius: float, centre: npt.ArrayLike = (0.0, 0.0, 0.0), *, level: int = 4, space: Space = "ijk"
) -> SurfaceMesh:
    """A subdivided octahedron on a sphere: 4 ** level * 8 triangles, vertices at distance `radius`."""
    vertices = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
    triangles = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(level):
        edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        unique, inverse = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique].sum(axis=1)
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        new = len(vertices) + inverse.reshape(-1, 3)
        a, b, c = triangles.T
        ab, bc, ca = new.T
        parts = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        triangles = np.concatenate([np.stack(part, axis=1) for part in parts])
        vertices = np.concatenate([vertices, middle])
    return SurfaceMesh(vertices * radius + np.asarray(centre, dtype=float), triangles, space)


def torus(
    major: float, minor: float, centre: npt.ArrayLike = (0.0, 0.0, 0.0), *, sides: int = 48, turns: int = 160
) -> SurfaceMesh:
    """A torus about the third axis in voxel indices."""
    ring, tube = np.meshgrid(
        np.linspace(0, 2 * np.pi, turns, endpoint=False),
        np.linspace(0, 2 * np.pi, sides, endpoint=False),
        indexing="ij",
    )
    radius = major + minor * np.cos(tube)
    vertices = np.stack([radius * np.cos(ring), radius * np.sin(ring), minor * np.sin(tube)], axis=-1).reshape(-1, 3)
    corner = np.arange(turns * sides).reshape(turns, sides)
    right, up = np.roll(corner, -1, axis=0), np.roll(corner, -1, axis=1)
    across = np.roll(right, -1, axis=1)
    first = np.stack([corner, right, across], axis=-1).reshape(-1, 3)
    second = np.stack([corner, across, up], axis=-1).reshape(-1, 3)
    return SurfaceMesh(vertices + np.asarray(centre, dtype=float), np.concatenate([first, second]), "ijk")


def box(low: npt.ArrayLike, high: npt.ArrayLike) -> SurfaceMesh:
    """An axis-aligned box of twelve triangles in voxel indices."""
    unit = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [corner for a, b, c, d in quads for corner in ((a, b, c), (a, c, d))]
    bottom, top = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    return SurfaceMesh(bottom + unit * (top - bottom), np.array(triangles), "ijk")


def rotation(seed: int) -> npt.NDArray[np.float64]:
    """A random proper (3, 3) rotation."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return np.asarray(matrix * np.sign(np.linalg.det(matrix)), dtype=np.float64)
