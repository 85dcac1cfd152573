"""Reading the atlas of the published release: surfaces, their common vertex array, image or activation map."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError

from model.errors import MeshError, ReleaseError
from model.meshes.mesh import SurfaceMesh
from model.meshes.published import decode_published
from model.release.pickled_array import read_pickled_array
from model.structures import STRUCTURES

VERTICES_FILE = "atlas_all_vtx.pkl"
IMAGE_FILE = "atlas.nii.gz"

SPACING_MM = 0.2
"""Voxel size of the published crops."""

_SAME_VOXELS = 1e-3


def activation_file(method: str) -> str:
    """Name of the activation map of a method (`chamfer`, `p2p`, ...)."""
    return f"atlas_activation_map_{method}.nii.gz"


def read_release_meshes(folder: Path) -> dict[str, SurfaceMesh]:
    """Read the four surfaces, in crop voxels, wound outward, in the published order of structures.

    The vertices are those of `atlas_all_vtx.pkl`; the `.mesh` files must have the same ones in the same order, since a
    triangle says nothing on vertices of another order.

    Raises:
        ReleaseError: a file is missing, damaged, or the files disagree.
    """
    meshes = {structure.id: _read_mesh(folder / f"atlas_{structure.code}.mesh") for structure in STRUCTURES}
    vertices = read_pickled_array(folder / VERTICES_FILE)
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
            )
        moved = mesh.with_vertices(part)
        result[name] = moved.flipped() if moved.signed_volume < 0 else moved
    return result


def read_release_image(path: Path) -> npt.NDArray[np.float32]:
    """Read an image [i, j, k] or activation map [c, i, j, k] of the release, values as stored.

    Raises:
        ReleaseError: the file is missing, damaged, of another dimension or not finite.
    """
    if not path.is_file():
        raise ReleaseError("a file of the release is missing", expected=path.name)
    try:
        values = nibabel.load(path).get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise ReleaseError(f"{path.name} cannot be read", expected="a NIfTI image", found=str(error)[:120]) from error
    if values.ndim not in (3, 4) or not np.isfinite(values).all():
        found = f"shape {values.shape}" if values.ndim not in (3, 4) else "NaN or infinity"
        raise ReleaseError(f"{path.name} cannot be used", expected="3 or 4 dimensions, finite", found=found)
    return np.asarray(values, dtype=np.float32)


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
        return decode_published(path.read_bytes())
    except MeshError as error:
        raise ReleaseError(f"{path.name} cannot be read", found=str(error)) from error
