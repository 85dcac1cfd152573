"""The `.mesh` format of the published release: little-endian, vertices in voxel indices.

Layout: int32 [0, vertex count, triangle count, n]; when n is -1, int32 orientation (3), int32 grid (3), float32 voxel
size (3) and int32 colour (3) follow, otherwise two int32; then float32 vertices and int32 triangles.
"""

from __future__ import annotations

import numpy as np

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh

_WITH_GRID = -1
_GRID_BYTES, _SHORT_BYTES, _HEADER_BYTES = 48, 8, 16


def encode_published(
    mesh: SurfaceMesh,
    *,
    colour: tuple[int, int, int],
    grid: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> bytes:
    """Give the surface as a published `.mesh` file.

    Args:
        mesh: surface in voxel indices.
        colour: 0..255.
        grid: voxels along i, j, k of the image the indices refer to, when known together with `spacing_mm`.
        spacing_mm: voxel size along i, j, k.

    Raises:
        MeshError: when the vertices are not voxel indices.
    """
    if mesh.space != "ijk":
        raise MeshError(
            "the published .mesh format holds voxel indices", expected="space voxel", found=f"space {mesh.space}"
        )
    counts = [0, len(mesh.vertices), len(mesh.triangles)]
    if grid is not None and spacing_mm is not None:
        header = np.array([*counts, _WITH_GRID, 0, 0, 0, *grid], dtype="<i4").tobytes()
        header += np.array(spacing_mm, dtype="<f4").tobytes() + np.array(colour, dtype="<i4").tobytes()
    else:
        header = np.array([*counts, *colour], dtype="<i4").tobytes()
    return header + mesh.vertices.astype("<f4").tobytes() + mesh.triangles.astype("<i4").tobytes()


def published_grid(content: bytes) -> tuple[tuple[int, int, int], tuple[float, float, float]] | None:
    """Give the voxels and the voxel size in mm along i, j, k that a published `.mesh` file states; None without."""
    if len(content) < _HEADER_BYTES + _GRID_BYTES or np.frombuffer(content, "<i4", 1, 12)[0] != _WITH_GRID:
        return None
    i, j, k = (int(size) for size in np.frombuffer(content, "<i4", 3, 28))
    x, y, z = (float(size) for size in np.frombuffer(content, "<f4", 3, 40))
    return ((i, j, k), (x, y, z)) if min(i, j, k) > 0 and min(x, y, z) > 0 else None


def decode_published(content: bytes) -> SurfaceMesh:
    """Read a published `.mesh` file; its vertices are voxel indices.

    Raises:
        MeshError: when the content is shorter or longer than its header says, or names missing vertices.
    """
    header = np.frombuffer(content[:_HEADER_BYTES].ljust(_HEADER_BYTES, b"\0"), dtype="<i4")
    vertex_count, triangle_count = int(header[1]), int(header[2])
    offset = _HEADER_BYTES + (_GRID_BYTES if header[3] == _WITH_GRID else _SHORT_BYTES)
    expected = offset + 12 * (vertex_count + triangle_count)
    if header[0] != 0 or vertex_count < 3 or triangle_count < 1 or len(content) != expected:
        raise MeshError(
            "the .mesh file cannot be used",
            expected=f"{expected} bytes for {vertex_count} vertices and {triangle_count} triangles",
            found=f"{len(content)} bytes",
        )
    vertices = np.frombuffer(content, "<f4", 3 * vertex_count, offset).reshape(-1, 3)
    triangles = np.frombuffer(content, "<i4", 3 * triangle_count, offset + 12 * vertex_count).reshape(-1, 3)
    try:
        return SurfaceMesh(vertices.astype(np.float64), triangles, "ijk")
    except ValueError as error:
        raise MeshError("the .mesh file names vertices that are not there") from error
