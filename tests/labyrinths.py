"""The atlas's labyrinth, coarse and deformed as another ear, for tests of surface registration."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from model.atlas.groupwise import simplify
from model.bundle import load_bundle
from model.masks.surfaces import mask_surface_ras
from model.masks.voxelize import voxelize_structures
from model.meshes.mesh import SurfaceMesh
from model.volumes.grid import stated_grid

FloatArray = npt.NDArray[np.float64]
_VOXEL_MM = 0.25
_WAVES, _WAVE_MM, _SIZE_MM = 24, 12.0, 0.8


@cache
def labyrinth(triangles: int = 6000) -> SurfaceMesh:
    """The labyrinth of the shipped model with fewer triangles and a value at every vertex, RAS mm."""
    bundle = load_bundle(Path(__file__).resolve().parents[1] / "checkpoints" / "cochlea-ct-v2")
    affine = stated_grid(bundle.frame.grid, [bundle.frame.spacing_mm] * 3).affine
    coarse = simplify(bundle.atlas_meshes_ijk["labyrinth"], triangles).transformed(affine, "ras")
    numbers = np.arange(len(coarse.vertices), dtype=np.float32)
    return SurfaceMesh(coarse.vertices, coarse.triangles, "ras", {"number": numbers})


def bent(points_mm: FloatArray, seed: int) -> FloatArray:
    """Move points smoothly, by 0.8 mm in the mean: plane waves no shorter than 12 mm."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    numbers = directions * 2 * np.pi / _WAVE_MM * random.uniform(0.5, 1, (_WAVES, 1))
    sizes, phases = random.normal(size=(_WAVES, 3)), random.uniform(0, 2 * np.pi, _WAVES)
    return np.asarray(points_mm + _SIZE_MM * np.cos(points_mm @ numbers.T + phases) @ sizes * np.sqrt(2 / 3 / _WAVES))


def misplaced(points_mm: FloatArray, about: FloatArray) -> FloatArray:
    """Turn points by 20 degrees about a slanted axis through a point, and move them by 3 mm."""
    turn = Rotation.from_rotvec(np.deg2rad(20) * np.ones(3) / np.sqrt(3)).as_matrix()
    return np.asarray((points_mm - about) @ turn.T + about + [2.0, -2.0, 1.0])


def remeshed(surface_ras: SurfaceMesh) -> SurfaceMesh:
    """Give the surface with a triangulation that has nothing to do with its own: that of its mask."""
    low = surface_ras.vertices.min(axis=0) - 3 * _VOXEL_MM
    affine = np.diag([*[_VOXEL_MM] * 3, 1.0])
    affine[:3, 3] = low
    i, j, k = (int(size) for size in np.ceil((surface_ras.vertices.max(axis=0) - low) / _VOXEL_MM) + 4)
    return mask_surface_ras(voxelize_structures({"x": surface_ras}, affine, (i, j, k))["x"], affine)
