"""`cochlear mesh`: a surface from one file format and space to another."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model.meshes.convert import to_space
from model.meshes.formats import read_mesh, write_mesh
from model.meshes.mesh import Space
from model.outputs.store import default_space
from model.volumes.read import read_image

_SPACES: dict[str, Space] = {"lps": "lps", "ras": "ras", "voxel": "ijk"}


class SpaceOption(StrEnum):
    """Spaces of mesh files."""

    LPS = "lps"
    RAS = "ras"
    VOXEL = "voxel"


def mesh(
    source: Annotated[Path, typer.Argument(help="Surface: vtk, vtp, stl, ply, obj, glb or published .mesh.")],
    out: Annotated[Path, typer.Argument(help="File to write; its suffix is its format.")],
    space: Annotated[
        SpaceOption | None, typer.Option(help="Space of the new file [default: the format's own].")
    ] = None,
    image: Annotated[Path | None, typer.Option("--like", help="NIfTI image that voxel indices refer to.")] = None,
) -> None:
    """Convert a surface between file formats and spaces.

    The space of the source is taken from its file: LPS where it says nothing, voxel indices for .mesh. Between voxel
    indices and millimetres, --like names the image of the indices.
    """
    surface = read_mesh(source)
    fmt = out.suffix.removeprefix(".").lower()
    volume = None if image is None else read_image(image)
    target = _SPACES[default_space(fmt) if space is None else space.value]
    converted = to_space(surface, target, None if volume is None else volume.affine)
    write_mesh(
        converted,
        out,
        fmt,
        title=source.stem,
        grid=None if volume is None else volume.shape,
        spacing_mm=None if volume is None else volume.spacing_mm,
    )
    typer.echo(f"{out.name}: {len(converted.vertices)} vertices, {len(converted.triangles)} triangles, {target}")
