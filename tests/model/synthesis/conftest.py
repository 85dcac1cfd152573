"""A made-up atlas for the tests of synthesis: spiral tubes in a closed labyrinth, in canonical ijk."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.measure

from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.synthesis.template import TissueTemplate, build_template

FloatArray = npt.NDArray[np.float64]

_AXIS = np.array([0.5, -0.86, -0.09]) / np.linalg.norm([0.5, -0.86, -0.09])
_U = np.array([0.79, 0.50, -0.36]) - _AXIS * (np.array([0.79, 0.50, -0.36]) @ _AXIS)
_U /= np.linalg.norm(_U)
_V = -np.cross(_AXIS, _U)
_ORIGIN_MM = np.array([-4.0, -4.5, -2.35])


def _to_ijk(points_mm: FloatArray) -> FloatArray:
    return np.asarray(64.0 + points_mm / 0.2, dtype=np.float64)


def _place(angle: FloatArray, radius: FloatArray, height: FloatArray) -> FloatArray:
    spoke = np.cos(angle)[..., None] * _U + np.sin(angle)[..., None] * _V
    return np.asarray(_ORIGIN_MM + radius[..., None] * spoke + height[..., None] * _AXIS, dtype=np.float64)


def _closed_tube(rings_mm: FloatArray, values: FloatArray) -> SurfaceMesh:
    """Join (n, m, 3) rings to a closed surface; each ring carries one angle."""
    count, around = rings_mm.shape[:2]
    first, step = np.meshgrid(np.arange(count - 1), np.arange(around), indexing="ij")
    a, b = first * around + step, first * around + (step + 1) % around
    faces = [np.stack([a, b, b + around], -1), np.stack([a, b + around, a + around], -1)]
    start, end = count * around, count * around + 1
    m = np.arange(around)
    last = (count - 1) * around
    faces += [
        np.stack([np.full(around, start), (m + 1) % around, m], -1),
        np.stack([np.full(around, end), last + m, last + (m + 1) % around], -1),
    ]
    points = np.concatenate([rings_mm.reshape(-1, 3), rings_mm[0].mean(0)[None], rings_mm[-1].mean(0)[None]])
    angles = np.concatenate([np.repeat(values, around), values[[0, -1]]]).astype(np.float32)
    triangles = np.concatenate([part.reshape(-1, 3) for part in faces]).astype(np.int32)
    mesh = SurfaceMesh(_to_ijk(points), triangles, "ijk", {"angle_deg": angles})
    return mesh if mesh.signed_volume > 0 else mesh.flipped()


def _scala(lift_mm: float, half_height_mm: float) -> SurfaceMesh:
    degrees = np.arange(10.0, 700.0, 6.0)
    outer = 5.2 * np.exp(-0.0018 * degrees) + 0.2
    inner = 0.55 * outer - 0.3
    turn = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
    radius = ((outer + inner) / 2)[:, None] + ((outer - inner) / 2)[:, None] * np.cos(turn)
    height = (lift_mm + 2.4 * degrees / 700.0)[:, None] + half_height_mm * np.sin(turn)[None, :]
    angle = np.broadcast_to(np.radians(degrees)[:, None], radius.shape)
    return _closed_tube(_place(angle, radius, height), degrees)


def _modiolus() -> SurfaceMesh:
    height = np.linspace(-0.8, 2.2, 12)
    radius = np.linspace(1.2, 0.15, 12)
    turn = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
    rings = _place(
        np.broadcast_to(turn, (12, 20)),
        np.broadcast_to(radius[:, None], (12, 20)),
        np.broadcast_to(height[:, None], (12, 20)),
    )
    return _closed_tube(rings, np.zeros(12))


def _labyrinth() -> SurfaceMesh:
    """A drum round the cochlea, a vestibule and one canal."""
    axis = np.arange(0.0, 128.0, 2.0)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    mm = (grid - 64.0) * 0.2
    along = (mm - _ORIGIN_MM) @ _AXIS
    across = np.linalg.norm(mm - _ORIGIN_MM - along[..., None] * _AXIS, axis=-1)
    drum = np.maximum(across - (5.0 - 0.8 * np.clip(along, 0.0, None)), np.abs(along - 1.2) - 2.2)
    vestibule = np.linalg.norm((mm - [-0.1, -0.3, -1.2]) / [1.8, 2.9, 2.5], axis=-1) * 2.0 - 2.0
    ring = np.hypot(np.hypot(mm[..., 0] - 3.4, mm[..., 1] - 1.0) - 2.7, mm[..., 2] - 0.3) - 0.7
    measure: Any = skimage.measure
    vertices, faces, _, _ = measure.marching_cubes(np.minimum.reduce([drum, vestibule, ring]), 0.0)
    mesh = SurfaceMesh(vertices * 2.0, faces.astype(np.int32), "ijk")
    return mesh if mesh.signed_volume > 0 else mesh.flipped()


@pytest.fixture(scope="session")
def toy_atlas() -> dict[str, SurfaceMesh]:
    return {
        "modiolus": _modiolus(),
        "scala_tympani": _scala(0.0, 0.5),
        "scala_vestibuli": _scala(1.15, 0.45),
        "labyrinth": _labyrinth(),
    }


@pytest.fixture(scope="session")
def toy_template(toy_atlas: dict[str, SurfaceMesh]) -> TissueTemplate:
    return build_template(toy_atlas)


@pytest.fixture(scope="session")
def toy_frame() -> CanonicalFrame:
    landmarks = {
        "RW": (67.8, 57.5, 42.5),
        "C": (44.7, 41.9, 51.6),
        "A": (52.1, 29.7, 49.6),
        "OW": (69.0, 54.9, 56.8),
        "V": (65.4, 62.2, 59.9),
    }
    return CanonicalFrame((128, 128, 128), 0.2, "LPS", "left", landmarks)
