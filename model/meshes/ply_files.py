"""Surfaces as PLY files: binary, little-endian, point data as extra vertex properties, the space tag as a comment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh
from model.meshes.space_tag import space_from_text, space_tag

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_END = b"end_header"


@dataclass
class _Element:
    """One element of a PLY header: its name, count, and properties as (name, type code, count type or None)."""

    name: str
    count: int
    properties: list[tuple[str, str, str | None]] = field(default_factory=list)

    def dtype(self, order: str) -> np.dtype[np.void]:
        """Give the record of this element, taking every list to hold three values."""
        fields: list[tuple[str, str] | tuple[str, str, int]] = []
        for name, kind, counter in self.properties:
            if counter is None:
                fields.append((name, order + kind))
            else:
                fields += [(f"{name}.count", order + counter), (name, order + kind, 3)]
        return np.dtype(fields)


def encode_ply(mesh: SurfaceMesh, title: str) -> bytes:
    """Give the surface as binary little-endian PLY.

    Args:
        mesh: surface in any space; its point data become float properties of the vertices.
        title: one line for people, written as a comment.
    """
    names = ["x", "y", "z", *mesh.point_data]
    lines = ["ply", "format binary_little_endian 1.0", f"comment {space_tag(mesh.space)}", f"comment {title}"]
    lines += [f"element vertex {len(mesh.vertices)}", *(f"property float {name}" for name in names)]
    lines += [f"element face {len(mesh.triangles)}", "property list uchar int vertex_indices", "end_header", ""]
    columns = [mesh.vertices, *(values.reshape(-1, 1).astype(np.float64) for values in mesh.point_data.values())]
    vertices = np.hstack(columns).astype("<f4")
    faces = np.zeros(len(mesh.triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    faces["corners"] = mesh.triangles
    return "\n".join(lines).encode("ascii", "replace") + vertices.tobytes() + faces.tobytes()


def decode_ply(content: bytes) -> SurfaceMesh:
    """Read a PLY file of triangles, binary or text; without a tag its space is LPS.

    Raises:
        MeshError: when the content is not a complete PLY surface of triangles.
    """
    order, elements, header, body = _parse_header(content)
    try:
        records = _read_text(body, elements) if order == "=" else _read_binary(body, elements, order)
        vertices, faces = records["vertex"], records["face"]
        indices = next(name for name in ("vertex_indices", "vertex_index") if name in (faces.dtype.names or ()))
    except (KeyError, StopIteration, ValueError, IndexError) as error:
        raise MeshError("the PLY file cannot be used", expected="complete vertices and triangles") from error
    if not np.all(faces[f"{indices}.count"] == 3):
        raise MeshError("the PLY file holds other polygons", expected="triangles", hint="triangulate the surface")
    extra = [name for name in vertices.dtype.names or () if name not in ("x", "y", "z", "nx", "ny", "nz")]
    points = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    point_data = {name: vertices[name].astype(np.float32) for name in extra}
    try:
        return SurfaceMesh(points, faces[indices].astype(np.int32), space_from_text(header), point_data)
    except ValueError as error:
        raise MeshError("the PLY file names vertices that are not there") from error


def _parse_header(content: bytes) -> tuple[str, list[_Element], str, bytes]:
    """Split a PLY file into byte order, elements, header text and body."""
    end = content.find(_END)
    stop = content.find(b"\n", end)
    if not content.startswith(b"ply") or end < 0 or stop < 0:
        raise MeshError("the PLY file cannot be used", expected="a PLY header", found=f"{len(content)} other bytes")
    header = content[:end].decode("ascii", "replace")
    order, elements = "", list[_Element]()
    for line in header.splitlines():
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = _ORDERS[words[1]]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2])))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append((words[4], _TYPES[words[3]], _TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1].properties.append((words[2], _TYPES[words[1]], None))
        except (KeyError, IndexError, ValueError) as error:
            raise MeshError("the PLY header cannot be used", expected="PLY 1.0", found=repr(line[:60])) from error
    return order, elements, header, content[stop + 1 :]


def _read_binary(body: bytes, elements: list[_Element], order: str) -> dict[str, npt.NDArray[np.void]]:
    """Read the elements of a binary PLY body."""
    records, offset = {}, 0
    for element in elements:
        dtype = element.dtype(order)
        records[element.name] = np.frombuffer(body, dtype=dtype, count=element.count, offset=offset)
        offset += dtype.itemsize * element.count
    return records


def _read_text(body: bytes, elements: list[_Element]) -> dict[str, npt.NDArray[np.void]]:
    """Read the elements of a text PLY body."""
    words, offset, records = body.split(), 0, {}
    for element in elements:
        size = element.count * _width(element)
        table = np.array(words[offset : offset + size], dtype="f8").reshape(element.count, -1)
        offset += table.size
        record, column = np.zeros(element.count, dtype=element.dtype("=")), 0
        for name in record.dtype.names or ():
            width = 3 if record.dtype[name].shape else 1
            record[name] = table[:, column : column + width].reshape(record[name].shape)
            column += width
        records[element.name] = record
    return records


def _width(element: _Element) -> int:
    """Count the words of one line of an element, lists taken as three values."""
    return sum(1 if counter is None else 4 for _, _, counter in element.properties)
