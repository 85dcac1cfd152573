"""The atlas of the published release: its files, surfaces with their common vertex array, the scale of its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import MeshError, ReleaseError
from model.meshes.mesh import SurfaceMesh
from model.meshes.published import decode_published
from model.release.closing import close_outward
from model.release.pickled_array import read_pickled_array
from model.structures import STRUCTURES

VERTICES_FILE = "atlas_all_vtx.pkl"
IMAGE_FILE = "atlas.nii.gz"

SPACING_MM = 0.2
"""Voxel size of the published crops."""

PUBLISHED_MAP_METHOD = "chamfer"
"""The method whose activation map of the atlas is published; the atlas image itself is not."""

_SAME_VOXELS = 1e-3


def activation_file(method: str) -> str:
    """Name of the activation map of a method (`chamfer`, `p2p`, ...)."""
    return f"atlas_activation_map_{method}.nii.gz"


def read_release_meshes(folder: Path) -> dict[str, SurfaceMesh]:
    """Read the four surfaces, in crop voxels, closed and wound outward, in the published order of structures.

    The vertices are those of `atlas_all_vtx.pkl`; the `.mesh` files must have the same ones in the same order, since a
    triangle says nothing on vertices of another order.

    Raises:
        ReleaseError: a file is missing, damaged, or the files disagree.
    """
    meshes = {structure.id: _read_mesh(folder / f"atlas_{structure.code}.mesh") for structure in STRUCTURES}
    vertices = read_pickled_array(folder / VERTICES_FILE)
    if not np.isfinite(vertices).all():
        raise ReleaseError(f"{VERTICES_FILE} cannot be used", expected="finite vertices", found="NaN or infinity")
    counts = [len(mesh.vertices) for mesh in meshes.values()]
    if vertices.shape != (sum(counts), 3):
        raise ReleaseError(
            f"{VERTICES_FILE} does not fit the .mesh files",
            expected=f"{sum(counts)} vertices ({', '.join(map(str, counts))})",
            found=f"an array of shape {vertices.shape}",
        )
    parts = np.split(vertices, np.cumsum(counts)[:-1])
    result = {}
    for (name, mesh), part in zip(meshes.items(), parts, strict=True):
        largest = float(np.abs(mesh.vertices - part).max())
        if not largest <= _SAME_VOXELS:
            raise ReleaseError(
                f"the vertices of {name} differ between {VERTICES_FILE} and its .mesh file",
                expected=f"at most {_SAME_VOXELS} voxel",
                found=f"{largest:g} voxels",
                hint="the files must hold the same vertices in the same order",
            )
        result[name] = close_outward(mesh.with_vertices(part), name)
    return result


def scale_atlas_image(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Map the range of an atlas image linearly to [-1, 1], as the published networks saw it.

    Raises:
        ReleaseError: the image is constant.
    """
    low, high = float(image.min()), float(image.max())
    if low >= high:
        raise ReleaseError("the atlas image cannot be used", expected="different values", found=f"{low:g} throughout")
    return np.asarray((image - np.float32(low)) / np.float32(high - low) * 2 - 1, dtype=np.float32)


def _read_mesh(path: Path) -> SurfaceMesh:
    """Read one `.mesh` file."""
    if not path.is_file():
        raise ReleaseError("a file of the release is missing", expected=path.name)
    try:
        mesh = decode_published(path.read_bytes())
    except MeshError as error:
        raise ReleaseError(f"{path.name} cannot be read", found=str(error)) from error
    if not np.isfinite(mesh.vertices).all():
        raise ReleaseError(f"{path.name} cannot be used", expected="finite vertices", found="NaN or infinity")
    return mesh
