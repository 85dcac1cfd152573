"""Small prepared crops made on the fly: spheres as structures, moved and scaled from case to case."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import trimesh
from service_fixtures import BUNDLE, write_small_bundle

from model.bundle import load_bundle, write_bundle
from model.bundle.schema import BundleDescription
from model.geometry.frame import CanonicalFrame
from model.masks.labels import label_map
from model.meshes.mesh import SurfaceMesh
from model.networks.registry import load_network
from model.structures import LABYRINTH, MODIOLUS, SCALA_TYMPANI, SCALA_VESTIBULI, STRUCTURE_IDS, structure_by_id
from model.training.crops.atlas import CropAtlas
from model.volumes.intensity import IntensityRule

FloatArray = npt.NDArray[np.float64]

GRID, SPACING_MM = 32, 0.8
CENTRE = np.full(3, 15.5)
SPHERES: dict[str, tuple[tuple[float, float, float], float]] = {
    MODIOLUS.id: ((26.0, 16.0, 17.0), 2.2),
    SCALA_TYMPANI.id: ((19.0, 15.0, 16.0), 2.5),
    SCALA_VESTIBULI.id: ((16.0, 20.0, 14.0), 2.2),
    LABYRINTH.id: ((16.0, 16.0, 15.0), 7.0),
}
"""Centre and radius of each structure in the atlas, voxels: the scalae lie in the labyrinth, the modiolus beside it."""

AFFINE_RAS = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
"""Voxels of a crop in the order L, P, S to RAS mm."""


@dataclass(frozen=True)
class Shape:
    """How a case differs from the atlas: scaled about the centre of the crop, then moved, in voxels."""

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def moved(self, points_ijk: npt.ArrayLike) -> FloatArray:
        """Where points of the atlas lie in the case."""
        return np.asarray((np.asarray(points_ijk) - CENTRE) * self.scale + CENTRE + np.asarray(self.shift))

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Which voxel centres lie in each sphere."""
        return {name: depth > 0 for name, depth in self._depths().items()}

    @lru_cache  # noqa: B019 (cases are few)
    def image(self) -> npt.NDArray[np.float32]:
        """A picture of the spheres in [-1, 1]: bright inner ones in a grey one in the dark, with soft edges."""
        picture = np.full((GRID,) * 3, -0.8)
        for name in reversed(STRUCTURE_IDS):
            inside = 1 / (1 + np.exp(-2 * self._depths()[name]))
            picture += inside * ((0.1 if name == LABYRINTH.id else 0.8) - picture)
        return picture.astype(np.float32)

    def vertices(self) -> dict[str, FloatArray]:
        """Where the vertices of the atlas lie in the case."""
        return {name: self.moved(mesh.vertices) for name, mesh in spheres().items()}

    @lru_cache  # noqa: B019 (cases are few)
    def _depths(self) -> dict[str, FloatArray]:
        """How deep every voxel centre lies in each sphere, voxels."""
        voxels = np.moveaxis(np.indices((GRID,) * 3), 0, -1)
        return {
            name: radius * self.scale - np.linalg.norm(voxels - self.moved(centre), axis=-1)
            for name, (centre, radius) in SPHERES.items()
        }


SIX = {
    f"ear{number}": Shape(shift, scale)
    for number, (shift, scale) in enumerate(
        [
            ((2.0, 0.0, 0.0), 1.0),
            ((0.0, -2.0, 1.0), 1.05),
            ((-1.0, 1.0, 2.0), 0.95),
            ((1.0, 1.0, -2.0), 1.0),
            ((-2.0, 0.0, 0.0), 0.9),
            ((0.0, 2.0, -1.0), 1.1),
        ]
    )
}
"""Six cases."""


@lru_cache
def spheres() -> dict[str, SurfaceMesh]:
    """Give the surfaces of the atlas, crop voxels."""
    ball = trimesh.creation.icosphere(2, 1.0)
    faces = np.asarray(ball.faces, dtype=np.int32)
    return {
        name: SurfaceMesh(np.asarray(ball.vertices) * radius + np.asarray(centre), faces, "ijk")
        for name, (centre, radius) in SPHERES.items()
    }


def sphere_atlas() -> CropAtlas:
    """Give the atlas of the spheres, without landmarks."""
    frame = CanonicalFrame((GRID,) * 3, SPACING_MM, "LPS", "left", MappingProxyType({}))
    return CropAtlas("spheres", Shape().image(), spheres(), frame, IntensityRule("as_stored", -1.0, 1.0, -1.0))


def write_atlas_bundle(folder: Path, name: str = "spheres") -> Path:
    """Write the atlas as a bundle that takes raw CT, with landmarks, and a network of fresh weights."""
    write_small_bundle(folder)
    small = load_bundle(folder / BUNDLE)
    stated = {key: getattr(small.manifest, key) for key in BundleDescription.model_fields} | {"name": name}
    weights = {key: value.numpy() for key, value in load_network(small).state_dict().items()}
    write_bundle(
        folder / name,
        BundleDescription(**stated),
        weights=weights,
        atlas_meshes_ijk=spheres(),
        atlas_input=Shape().image(),
    )
    return folder / name


def save(path: Path, data: npt.NDArray[Any], affine: npt.ArrayLike = AFFINE_RAS) -> None:
    """Write a NIfTI file."""
    image: Any = nibabel.Nifti1Image(data, np.asarray(affine))
    image.to_filename(path)


def write_images(folder: Path, cases: dict[str, Shape]) -> Path:
    """Write the crops of cases."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in cases.items():
        save(folder / f"{name}.nii.gz", shape.image())
    return folder


def write_vertices(folder: Path, cases: dict[str, Shape], kind: str = "npz") -> Path:
    """Write the vertices of cases.

    Args:
        folder: where to.
        cases: by name.
        kind: `npz` (all together), `structures` (.npz by published code), `pkl`, `labels` (label maps) or `masks`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in cases.items():
        vertices = shape.vertices()
        together = np.concatenate(list(vertices.values()))
        if kind == "npz":
            np.savez(folder / f"{name}.npz", vertices=together)
        elif kind == "structures":
            codes: dict[str, Any] = {structure_by_id(key).code: points for key, points in vertices.items()}
            np.savez(folder / f"{name}.npz", **codes)
        elif kind == "pkl":
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(together))
        elif kind == "labels":
            save(folder / f"{name}.nii.gz", label_map(shape.masks()))
        else:
            for key, mask in shape.masks().items():
                save(folder / f"{name}_{key}.nii.gz", mask.astype(np.uint8))
    return folder


def write_folders(folder: Path, cases: dict[str, Shape] | None = None, kind: str = "npz") -> tuple[Path, Path]:
    """Write crops and vertices of cases, six when none are given, and give the two folders."""
    chosen = SIX if cases is None else cases
    return write_images(folder / "images", chosen), write_vertices(folder / "vertices", chosen, kind)
