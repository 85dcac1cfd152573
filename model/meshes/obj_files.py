"""Surfaces as Wavefront OBJ files: text, the space tag in a comment, no point data."""

from __future__ import annotations

import numpy as np

from model.errors import MeshError
from model.meshes.mesh import SurfaceMesh
from model.meshes.space_tag import space_from_text, space_tag

_END = "# end of surface"
_ANNOUNCED = '# closed by a line "end of surface"'
"""OBJ has no length of its own; a file that announces its last line cannot lose it, or half of it, unnoticed."""


def encode_obj(mesh: SurfaceMesh, title: str) -> bytes:
    """Give the surface as OBJ text with a millionth of the unit kept.

    Args:
        mesh: surface in any space.
        title: one line for people, written as a comment.
    """
    lines = [f"# {title} {space_tag(mesh.space)}", _ANNOUNCED, f"o {title.split(' ')[0]}"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.triangles + 1).tolist()]
    return ("\n".join([*lines, _END]) + "\n").encode("ascii", "replace")


def decode_obj(content: bytes) -> SurfaceMesh:
    """Read the vertices and triangles of an OBJ file; without a tag its space is LPS.

    Raises:
        MeshError: when it is cut off, there are no triangles, other polygons, or lines that cannot be parsed.
    """
    vertices: list[list[float]] = []
    triangles: list[list[int]] = []
    comments: list[str] = []
    for line in content.decode("utf-8", "replace").splitlines():
        words = line.split()
        try:
            if words[:1] == ["v"]:
                vertices.append([float(word) for word in words[1:4]])
            elif words[:1] == ["f"]:
                triangles.append([_vertex_index(word, len(vertices)) for word in words[1:]])
            elif line.startswith("#"):
                comments.append(line)
        except ValueError as error:
            raise MeshError("the OBJ file cannot be parsed", expected="OBJ lines", found=repr(line[:60])) from error
    if _ANNOUNCED in comments and comments[-1] != _END:
        raise MeshError("the OBJ file is cut off", expected="the last line it announces", found="another one")
    if not triangles or any(len(corners) != 3 for corners in triangles):
        raise MeshError("the OBJ file cannot be used", expected="triangles", found="none or other polygons")
    try:
        return SurfaceMesh(np.array(vertices), np.array(triangles), space_from_text("\n".join(comments)))
    except ValueError as error:
        raise MeshError("the OBJ file names vertices that are not there") from error


def _vertex_index(word: str, count: int) -> int:
    """Turn the vertex part of `7`, `7/1`, `7//3` or `-1` into an index from zero."""
    index = int(word.split("/")[0])
    return index - 1 if index > 0 else count + index
