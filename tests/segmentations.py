"""Small segmented ears with known shape, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from surfaces import rotation, sphere

from model.geometry.alignment import Alignment
from model.geometry.frame import CanonicalFrame
from model.geometry.landmarks import Side
from model.meshes.mesh import SurfaceMesh
from model.outputs.segmentation import Segmentation
from model.volumes.volume import Volume

GRID = (40, 40, 40)
SPACING_MM = 0.4
FRAME = CanonicalFrame(GRID, SPACING_MM, "LPS", "left", {})
RUN: dict[str, Any] = {
    "model": {"name": "example", "version": "1.0", "digest": "0" * 64},
    "kind": "raw",
    "device": "cpu",
    "timings_s": {"register": 1.25},
    "warnings": ["the slices are thick"],
}


def canonical_meshes() -> dict[str, SurfaceMesh]:
    """Ellipsoids in the canonical frame: a labyrinth with the three others inside, none of them symmetrical."""
    parts: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "modiolus": ((15.0, 17.0, 18.0), (2.0, 2.5, 4.0)),
        "scala_tympani": ((21.5, 17.0, 16.0), (3.0, 4.0, 3.5)),
        "scala_vestibuli": ((21.5, 17.0, 24.0), (3.2, 4.0, 3.5)),
        "labyrinth": ((20.0, 18.0, 20.0), (9.0, 8.0, 11.0)),
    }
    meshes = {}
    for name, (centre, radii) in parts.items():
        unit = sphere(1.0, level=4)
        angles = np.linspace(0, 900, len(unit.vertices), dtype=np.float32)
        data = {"angle_deg": angles} if name != "labyrinth" else {}
        meshes[name] = SurfaceMesh(unit.vertices * radii + np.array(centre), unit.triangles, "ijk", data)
    return meshes


def volume_on(affine: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> Volume:
    """An int16 image with that grid, stated as aligned (code 2) in the header."""
    data = np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, 2)
    image.set_qform(affine, 2)
    image.header["descrip"] = b"a name that must not travel"
    return Volume(data.astype(np.float32), affine, image.header)


def oblique_volume(seed: int = 1) -> Volume:
    """An anisotropic, oblique and mirrored grid that covers the ear of `segmentation`."""
    shape, spacing = (70, 76, 64), (0.3, -0.25, 0.31)
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) @ np.diag(spacing)
    affine[:3, 3] = np.array([40.0, -25.0, 12.0]) - affine[:3, :3] @ (np.array(shape) / 2)
    return volume_on(affine, shape)


def segmentation(side: Side = "left", *, volume: Volume | None = None) -> Segmentation:
    """An ear about (40, -25, 12) RAS mm in some pose, mirrored in the canonical frame when it is a right one."""
    volume = oblique_volume() if volume is None else volume
    mirror = np.diag([-1.0 if side == "right" else 1.0, 1.0, 1.0])
    to_ras = np.eye(4)
    to_ras[:3, :3] = rotation(7) @ np.diag([-1.0, -1.0, 1.0]) @ mirror * SPACING_MM
    to_ras[:3, 3] = np.array([40.0, -25.0, 12.0]) - to_ras[:3, :3] @ [19.5, 19.5, 19.5]
    alignment = Alignment(np.asarray(np.linalg.inv(to_ras), dtype=np.float64), side, "landmarks", 0.3, {"RW": 0.3})
    meshes = {name: mesh.transformed(to_ras, "ras") for name, mesh in canonical_meshes().items()}
    i, j, k = np.meshgrid(*(np.arange(size) / 10 for size in GRID), indexing="ij")
    ddf = np.stack([np.sin(j), 0.5 * np.cos(k), 0.3 * np.sin(i)]).astype(np.float32)
    image = np.random.default_rng(1).normal(size=GRID).astype(np.float32)
    return Segmentation(volume, meshes, alignment, FRAME, ddf, image, RUN)


def field_of(result: Segmentation) -> npt.NDArray[np.float32]:
    """Give the displacement field of a result that has one."""
    assert result.ddf_ijk is not None
    return result.ddf_ijk


def open_nifti(path: Path) -> Any:  # noqa: ANN401 - nibabel's types do not say what its images have
    """Open a NIfTI file with nibabel."""
    return nibabel.load(path)


def save_nifti(path: Path, data: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    """Write a NIfTI file with nibabel."""
    image: Any = nibabel.Nifti1Image(data, affine)
    image.to_filename(path)
