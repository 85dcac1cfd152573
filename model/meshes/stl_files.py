"""Surfaces as binary STL files: an 80-byte header with the space tag, then loose triangles."""

from __future__ import annotations

import numpy as np

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh
from model.meshes.space_tag import space_from_text, space_tag

_HEADER_BYTES = 80
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def encode_stl(mesh: SurfaceMesh, title: str) -> bytes:
    """Give the surface as binary STL, with the unit normal of every triangle.

    Args:
        mesh: surface in any space.
        title: text for the header; it must not start with "solid", which marks text STL.
    """
    corners = mesh.vertices.astype(np.float32)[mesh.triangles]
    exact = mesh.vertices[mesh.triangles]
    normals = np.cross(exact[:, 1] - exact[:, 0], exact[:, 2] - exact[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets = np.zeros(len(corners), dtype=_FACET)
    facets["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    facets["corners"] = corners
    tag = space_tag(mesh.space).encode("ascii")
    text = title.encode("ascii", "replace")[: _HEADER_BYTES - len(tag) - 1]
    header = (text + b" " + tag).ljust(_HEADER_BYTES, b" ")
    return header + np.uint32(len(facets)).tobytes() + facets.tobytes()


def decode_stl(content: bytes) -> SurfaceMesh:
    """Read binary STL; corners at exactly one position become one vertex, in order of appearance.

    Raises:
        MeshError: when the content is not a complete binary STL file.
    """
    body = _HEADER_BYTES + 4
    count = int.from_bytes(content[_HEADER_BYTES:body], "little") if len(content) >= body else 0
    if count == 0 or len(content) < body + count * _FACET.itemsize:
        raise MeshError(
            "the STL file cannot be used",
            expected="a complete binary STL file with at least one triangle",
            found=f"{len(content)} bytes" + (", text" if content[:5] == b"solid" else ""),
        )
    facets = np.frombuffer(content, dtype=_FACET, count=count, offset=body)
    corners = facets["corners"].reshape(-1, 3)
    _, first, inverse = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    triangles = rank[inverse.reshape(-1)].reshape(-1, 3).astype(np.int32)
    space = space_from_text(content[:_HEADER_BYTES].decode("ascii", "replace"))
    return SurfaceMesh(corners[first[order]], triangles, space)
