"""Reading and writing surfaces, whatever the file format.

| format | space | point data | space is said in |
|---|---|---|---|
| `vtk` | any | kept | title |
| `vtp` | any | kept | field data `SPACE` |
| `ply` | any | kept | comment |
| `glb` | any | kept | `asset.extras` (buffer in mm, scene in metres) |
| `stl` | any | lost | 80-byte header |
| `obj` | any | lost | comment |
| `mesh` | voxel indices only | lost | nowhere: always voxel indices |

Vertices are stored as float32 (text with six decimals in OBJ); their order is kept everywhere but in STL. Triangles are
wound outward in the file's own space.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.errors import MeshError, OptionError
from model.meshes.glb_files import decode_glb, encode_glb
from model.meshes.mesh import Space, SurfaceMesh
from model.meshes.obj_files import decode_obj, encode_obj
from model.meshes.ply_files import decode_ply, encode_ply
from model.meshes.published import decode_published, encode_published
from model.meshes.stl_files import decode_stl, encode_stl
from model.meshes.vtk_files import read_legacy_vtk, read_vtp, write_legacy_vtk, write_vtp

MESH_FORMATS: tuple[str, ...] = ("vtk", "vtp", "stl", "ply", "obj", "glb", "mesh")

MEDIA_TYPES: dict[str, str] = {
    "vtk": "application/octet-stream",
    "vtp": "application/xml",
    "stl": "model/stl",
    "ply": "application/octet-stream",
    "obj": "model/obj",
    "glb": "model/gltf-binary",
    "mesh": "application/octet-stream",
}
"""Media type of each format, for HTTP."""

_GREY = (190, 190, 190)
_DECODERS = {"stl": decode_stl, "ply": decode_ply, "obj": decode_obj, "glb": decode_glb, "mesh": decode_published}
_READERS = {"vtk": read_legacy_vtk, "vtp": read_vtp}


def check_mesh_format(fmt: str) -> str:
    """Give the format back, or refuse it.

    Raises:
        OptionError: when the format is not one of `MESH_FORMATS`.
    """
    if fmt not in MESH_FORMATS:
        raise OptionError("unknown mesh format", expected=", ".join(MESH_FORMATS), found=repr(fmt), field="formats")
    return fmt


def write_mesh(
    mesh: SurfaceMesh,
    path: Path,
    fmt: str | None = None,
    *,
    title: str = "surface",
    colour: tuple[int, int, int] = _GREY,
    grid: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> None:
    """Write a surface, tagged with its space.

    Args:
        mesh: surface in any space (`mesh` files: voxel indices only).
        path: file to write.
        fmt: one of `MESH_FORMATS`; None takes the suffix of `path`.
        title: one line for people, kept in the file's title, header or comment.
        colour: sRGB 0..255, kept where the format can.
        grid: voxels of the image that voxel indices refer to; kept by `mesh` files.
        spacing_mm: voxel size of that image; kept by `mesh` files.

    Raises:
        OptionError: when the format is unknown.
        MeshError: when a `mesh` file is asked for vertices that are not voxel indices.
    """
    fmt = check_mesh_format(path.suffix.removeprefix(".") if fmt is None else fmt)
    title = " ".join(title.split()) or "surface"
    if fmt == "vtk":
        write_legacy_vtk(mesh, path, title)
    elif fmt == "vtp":
        write_vtp(mesh, path)
    elif fmt == "glb":
        path.write_bytes(encode_glb(mesh, title, colour))
    elif fmt == "mesh":
        path.write_bytes(encode_published(mesh, colour=colour, grid=grid, spacing_mm=spacing_mm))
    else:
        encode = {"stl": encode_stl, "ply": encode_ply, "obj": encode_obj}[fmt]
        path.write_bytes(encode(mesh, title))


def read_mesh(path: Path, *, space: Space | None = None) -> SurfaceMesh:
    """Read a surface of triangles by the suffix of its file.

    Args:
        path: file of one of `MESH_FORMATS`.
        space: the space of the vertices when the caller knows better than the file; None takes the file's tag, and
            LPS where there is none.

    Raises:
        OptionError: when the format is unknown.
        MeshError: when the file is missing, damaged or holds no triangles.
    """
    fmt = check_mesh_format(path.suffix.removeprefix(".").lower())
    if not path.is_file():
        raise MeshError("the mesh file is not there", expected="an existing file", found=path.name)
    mesh = _READERS[fmt](path) if fmt in _READERS else _DECODERS[fmt](path.read_bytes())
    return mesh if space is None else replace(mesh, space=space)
