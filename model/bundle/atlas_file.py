"""`atlas.npz`: the surfaces of the atlas, one structure after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.bundle.arrays import ArraySpec, array_names, check_arrays, read_array
from model.bundle.layout import ATLAS_FILE, TRIANGLES, VERTICES
from model.bundle.manifest_file import damaged
from model.bundle.schema import BundleManifest, StructureSection
from model.meshes.mesh import SurfaceMesh

_FLOAT, _INT = ("float32",), ("int32",)


def atlas_arrays(meshes_ijk: Mapping[str, SurfaceMesh]) -> dict[str, npt.NDArray[Any]]:
    """Give the arrays of `atlas.npz` for surfaces in voxels of the canonical frame, in their order."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes_ijk.values())])
    meshes = list(meshes_ijk.values())
    arrays: dict[str, npt.NDArray[Any]] = {
        VERTICES: np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32),
        TRIANGLES: np.concatenate(
            [mesh.triangles + start for mesh, start in zip(meshes, starts[:-1], strict=True)]
        ).astype(np.int32),
    }
    for name in sorted({name for mesh in meshes for name in mesh.point_data}):
        parts = [np.asarray(m.point_data.get(name, np.full(len(m.vertices), np.nan)), np.float32) for m in meshes]
        arrays[name] = np.concatenate(parts)
    return arrays


def check_atlas(path: Path, manifest: BundleManifest) -> None:
    """Check shapes and types of the arrays against the counts of the manifest.

    Raises:
        DamagedBundleError: an array is missing or does not fit.
    """
    *_, (_, points, faces) = _parts(manifest.structures)
    vertices, triangles = points.stop, faces.stop
    wanted = {VERTICES: ArraySpec((vertices, 3), _FLOAT), TRIANGLES: ArraySpec((triangles, 3), _INT)}
    check_arrays(path / ATLAS_FILE, wanted, ArraySpec((vertices,), _FLOAT))


def read_atlas(path: Path, manifest: BundleManifest) -> dict[str, SurfaceMesh]:
    """Read the surfaces of a checked bundle, in voxels of the canonical frame.

    Raises:
        DamagedBundleError: triangles name vertices of other structures, or vertices are not finite.
    """
    file = path / ATLAS_FILE
    names = [n for n in array_names(file) if n not in (VERTICES, TRIANGLES)]
    vertices, triangles = read_array(file, VERTICES), read_array(file, TRIANGLES)
    data = {name: read_array(file, name) for name in names}
    if not np.isfinite(vertices).all():
        raise damaged(ATLAS_FILE, "vertices that are not finite")
    meshes = {}
    for structure, points, faces in _parts(manifest.structures):
        own = triangles[faces] - points.start
        values = {name: column[points] for name, column in data.items() if not np.isnan(column[points]).all()}
        if own.min() < 0 or own.max() >= points.stop - points.start:
            raise damaged(ATLAS_FILE, f"triangles of {structure.id} on vertices of another structure")
        meshes[structure.id] = SurfaceMesh(vertices[points].astype(np.float64), own, "ijk", values)
    return meshes


def _parts(structures: tuple[StructureSection, ...]) -> Iterator[tuple[StructureSection, slice, slice]]:
    """Give every structure with the rows of its vertices and of its triangles."""
    vertex = triangle = 0
    for structure in structures:
        # The schema lets counts be absent in bundles without atlas only, and this file is not read there.
        points = slice(vertex, vertex + (structure.vertices or 0))
        faces = slice(triangle, triangle + (structure.triangles or 0))
        yield structure, points, faces
        vertex, triangle = points.stop, faces.stop
