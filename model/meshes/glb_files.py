"""Surfaces as binary glTF 2.0 (GLB) files.

glTF is in metres with +Y up. The vertex buffer keeps the millimetres of the surface, and for patient spaces the scene
node turns them into metres with S as +Y, so that viewers show an ear of the right size standing upright; voxel indices
have no such meaning and their node is the identity. The space is in `asset.extras`. Point data become attributes named
by their upper-case name after an underscore (`_ANGLE_DEG`), as the specification allows.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh
from model.meshes.space_tag import space_from_text, space_tag
from model.meshes.topology import vertex_normals

_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_FLOAT, _UNSIGNED = 5126, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
# Column by column: x -> x/1000, y -> -z/1000, z -> y/1000.
_MM_TO_UPRIGHT_METRES = [0.001, 0, 0, 0, 0, 0, -0.001, 0, 0, 0.001, 0, 0, 0, 0, 0, 1]


def encode_glb(mesh: SurfaceMesh, title: str, colour: tuple[int, int, int]) -> bytes:
    """Give the surface as GLB with vertex normals and a matt material.

    Args:
        mesh: surface in any space.
        title: name of the mesh in the scene.
        colour: sRGB of the material, 0..255.
    """
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.add(mesh.vertices.astype("<f4"), "VEC3", _VERTEX_BUFFER, bounds=True),
        "NORMAL": buffer.add(vertex_normals(mesh).astype("<f4"), "VEC3", _VERTEX_BUFFER),
    }
    for name, values in mesh.point_data.items():
        attributes[f"_{name.upper()}"] = buffer.add(np.asarray(values, dtype="<f4"), "SCALAR", _VERTEX_BUFFER)
    indices = buffer.add(mesh.triangles.ravel().astype("<u4"), "SCALAR", _INDEX_BUFFER)
    node: dict[str, Any] = {"mesh": 0, "name": title}
    if mesh.space != "ijk":
        node["matrix"] = _MM_TO_UPRIGHT_METRES
    linear = [round((channel / 255) ** 2.2, 4) for channel in colour]
    material = {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.6}
    document = {
        "asset": {
            "version": "2.0",
            "generator": "cochlear",
            "extras": {"space": space_tag(mesh.space), "unit": "voxel" if mesh.space == "ijk" else "mm"},
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"name": title, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [{"name": title, "pbrMetallicRoughness": material}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    return _container(json.dumps(document, separators=(",", ":")).encode(), bytes(buffer.content))


def decode_glb(content: bytes) -> SurfaceMesh:
    """Read a GLB file as this module writes it: one mesh of triangles, its buffer in the unit it names.

    Raises:
        MeshError: when the content is not such a file.
    """
    try:
        document, binary = _chunks(content)
        (primitive,) = document["meshes"][0]["primitives"]
        names = primitive["attributes"]
        vertices = _accessor(document, binary, names["POSITION"])
        triangles = _accessor(document, binary, primitive["indices"]).reshape(-1, 3).astype(np.int32)
        point_data = {
            name[1:].lower(): _accessor(document, binary, at).astype(np.float32)
            for name, at in names.items()
            if name.startswith("_")
        }
        space = space_from_text(str(document["asset"]["extras"]["space"]))
        return SurfaceMesh(vertices.astype(np.float64), triangles, space, point_data)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise MeshError(
            "the GLB file cannot be used", expected="one mesh of triangles, as this program writes it"
        ) from error


class _Buffer:
    """The binary chunk under construction, with the views and accessors into it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: npt.NDArray[Any], kind: str, target: int, *, bounds: bool = False) -> int:
        """Append an array of 4-byte numbers and give the index of its accessor."""
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": array.nbytes, "target": target}
        component = _FLOAT if array.dtype.kind == "f" else _UNSIGNED
        accessor: dict[str, Any] = {"bufferView": len(self.views), "componentType": component, "count": len(array)}
        accessor["type"] = kind
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.views.append(view)
        self.accessors.append(accessor)
        self.content += array.tobytes()
        return len(self.accessors) - 1


def _container(document: bytes, binary: bytes) -> bytes:
    """Pack the two chunks; each is padded to four bytes."""
    document += b" " * (-len(document) % 4)
    binary += b"\0" * (-len(binary) % 4)
    words = np.array([_MAGIC, _VERSION, 28 + len(document) + len(binary), len(document), _JSON], dtype="<u4")
    return words.tobytes() + document + np.array([len(binary), _BIN], dtype="<u4").tobytes() + binary


def _chunks(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a GLB file into its document and its binary chunk."""
    magic, version, _, length, kind = np.frombuffer(content, dtype="<u4", count=5)
    if (magic, version, kind) != (_MAGIC, _VERSION, _JSON):
        raise ValueError("not a GLB file")
    document: dict[str, Any] = json.loads(content[20 : 20 + int(length)])
    return document, content[28 + int(length) :]


def _accessor(document: dict[str, Any], binary: bytes, index: int) -> npt.NDArray[Any]:
    """Read one accessor of floats or unsigned integers."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
    dtype = {_FLOAT: "<f4", _UNSIGNED: "<u4"}[accessor["componentType"]]
    offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    flat = np.frombuffer(binary, dtype=dtype, count=accessor["count"] * width, offset=offset)
    return flat.reshape(-1, width) if width > 1 else flat
