"""The surfaces of a result as numbers, from which any mesh file in any space is made when it is asked for."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from model.errors import OptionError, RunError
from model.meshes.convert import to_space
from model.meshes.formats import check_mesh_format, write_mesh
from model.meshes.mesh import SurfaceMesh
from model.structures import STRUCTURE_IDS, structure_by_id

STORE_NAME = "meshes.npz"
"""File name of the store inside a result."""

OutputSpace = Literal["lps", "ras", "voxel"]
"""What callers may ask for; `voxel` is the index space of the uploaded image."""

OUTPUT_SPACES: tuple[OutputSpace, ...] = ("lps", "ras", "voxel")


@dataclass(frozen=True)
class MeshStore:
    """Surfaces of one patient together with the grid of the patient's image.

    Attributes:
        meshes_ras: surfaces in RAS mm by structure id.
        affine: (4, 4) voxel indices -> RAS mm of the image.
        shape: voxels of the image along i, j, k.
    """

    meshes_ras: Mapping[str, SurfaceMesh]
    affine: npt.NDArray[np.float64]
    shape: tuple[int, int, int]

    def write(self, path: Path) -> None:
        """Write the store as a compressed npz file without pickles."""
        arrays: dict[str, Any] = {
            "image_affine": np.asarray(self.affine, dtype=np.float64),
            "image_shape": np.asarray(self.shape, dtype=np.int64),
        }
        for name, mesh in self.meshes_ras.items():
            arrays[f"{name}.vertices_ras"] = mesh.vertices
            arrays[f"{name}.triangles"] = mesh.triangles
            for key, values in mesh.point_data.items():
                arrays[f"{name}.point_data.{key}"] = np.asarray(values, dtype=np.float32)
        with path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def read(cls, source: Path | BinaryIO) -> MeshStore:
        """Read a store from a file or from an open binary stream.

        Raises:
            RunError: when the store is missing or damaged.
        """
        try:
            with np.load(source, allow_pickle=False) as arrays:
                return cls._from_arrays({name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                "the stored surfaces of this result cannot be read", expected=f"a complete {STORE_NAME}"
            ) from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> MeshStore:
        """Build the store from the arrays of its file."""
        meshes = {}
        for name in STRUCTURE_IDS:
            if f"{name}.triangles" not in arrays:
                continue
            prefix = f"{name}.point_data."
            point_data = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
            vertices, triangles = arrays[f"{name}.vertices_ras"], arrays[f"{name}.triangles"]
            meshes[name] = SurfaceMesh(vertices, triangles, "ras", point_data)
        i, j, k = (int(size) for size in arrays["image_shape"])
        return cls(meshes, np.asarray(arrays["image_affine"], dtype=np.float64), (i, j, k))

    def mesh_in(self, structure_id: str, space: OutputSpace) -> SurfaceMesh:
        """Give one surface in a space, wound outward there.

        Raises:
            OptionError: when the result has no such structure or the space is unknown.
        """
        if structure_id not in self.meshes_ras:
            raise OptionError(
                "no such structure in this result", expected=", ".join(self.meshes_ras), found=repr(structure_id)
            )
        if space not in OUTPUT_SPACES:
            raise OptionError("unknown space", expected=", ".join(OUTPUT_SPACES), found=repr(space))
        return to_space(self.meshes_ras[structure_id], "ijk" if space == "voxel" else space, self.affine)

    def write_mesh(self, structure_id: str, path: Path, fmt: str, space: OutputSpace | None = None) -> None:
        """Write the mesh file of one structure.

        Args:
            structure_id: which structure.
            path: file to write.
            fmt: one of `MESH_FORMATS`.
            space: the file's space; None takes the format's own (`default_space`).

        Raises:
            OptionError: when structure, format or space is unknown, or the format cannot hold the space.
        """
        space = default_space(fmt) if space is None else space
        if fmt == "mesh" and space != "voxel":
            raise OptionError("the .mesh format holds voxel indices only", expected="space voxel", found=repr(space))
        structure = structure_by_id(structure_id) if structure_id in STRUCTURE_IDS else None
        mesh = self.mesh_in(structure_id, space)
        i, j, k = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        write_mesh(
            mesh,
            path,
            fmt,
            title=structure_id,
            colour=structure.colour if structure is not None else (190, 190, 190),
            grid=self.shape,
            spacing_mm=(i, j, k),
        )

    def render(self, structure_id: str, fmt: str, space: OutputSpace | None = None) -> bytes:
        """Give the content of the mesh file of one structure; arguments and errors as for `write_mesh`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"mesh.{check_mesh_format(fmt)}"
            self.write_mesh(structure_id, path, fmt, space)
            return path.read_bytes()


def default_space(fmt: str) -> OutputSpace:
    """Give the space in which a format is written when none is asked for: LPS, for `.mesh` voxel indices.

    Raises:
        OptionError: when the format is unknown.
    """
    return "voxel" if check_mesh_format(fmt) == "mesh" else "lps"


def render_mesh(out: Path, structure_id: str, fmt: str, space: OutputSpace | None = None) -> bytes:
    """Give the content of a mesh file of a finished result.

    Args:
        out: folder of the result, as `write_results` left it.
        structure_id: which structure.
        fmt: one of `MESH_FORMATS`.
        space: `lps`, `ras` or `voxel` (indices of the uploaded image); None takes the format's own.

    Raises:
        OptionError: when structure, format or space is unknown, or the format cannot hold the space.
        RunError: when the result is damaged.
    """
    return MeshStore.read(out / STORE_NAME).render(structure_id, fmt, space)
