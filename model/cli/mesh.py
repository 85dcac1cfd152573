"""`cochlear mesh`: masks to surfaces, and surfaces from one file format and space to another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model.cli.batch import Item, find_items, run_items
from model.cli.grids import GridChoice, GridOption, SpacingOption
from model.errors import OptionError
from model.meshes.convert import to_space
from model.meshes.formats import MESH_FORMATS, check_mesh_format, read_mesh, write_mesh
from model.meshes.mesh import Space, SurfaceMesh
from model.outputs.publish import published_path
from model.outputs.store import default_space
from model.structures import STRUCTURE_IDS, structure_by_id
from model.volumes.volume import Volume

_SPACES: dict[str, Space] = {"lps": "lps", "ras": "ras", "voxel": "ijk"}
_MASK_SUFFIXES = (".nii.gz", ".nii")
_GREY = (190, 190, 190)


class SpaceOption(StrEnum):
    """Spaces of mesh files."""

    LPS = "lps"
    RAS = "ras"
    VOXEL = "voxel"


@dataclass(frozen=True)
class _Wanted:
    """What is to be made of every source."""

    fmt: str
    space: SpaceOption | None
    smooth: int
    choice: GridChoice


def mesh(
    source: Annotated[
        Path,
        typer.Argument(help="Mask or label map (.nii, .nii.gz); surface (vtk, vtp, stl, ply, obj, glb, mesh); folder."),
    ],
    out: Annotated[Path, typer.Argument(help="File to write, its suffix is its format; or a folder.")],
    space: Annotated[
        SpaceOption | None, typer.Option(help="Space of the new file [default: the format's own].")
    ] = None,
    like: Annotated[Path | None, typer.Option("--like", help="NIfTI image that voxel indices refer to.")] = None,
    grid: GridOption = None,
    spacing: SpacingOption = None,
    fmt: Annotated[str, typer.Option("--format", help="Format of the files in a folder.")] = "vtk",
    smooth: Annotated[
        int, typer.Option(min=0, max=200, help="Iterations of smoothing of masks' surfaces; 10 take off the steps.")
    ] = 0,
    label: Annotated[int | None, typer.Option(help="Only this label of a label map.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Folder: make files anew that are there already.")] = False,
) -> None:
    """Make surfaces of masks by marching cubes, or convert surfaces between file formats and spaces.

    Masks: the surface runs halfway between voxels in and out, closed at the border of the image, wound outward, where
    the mask's affine puts it. A label map gives a folder with one surface per label, named by structure for labels
    1 to 4. Smoothing keeps the volume.

    Surfaces: the space of the source is taken from its file: LPS where it says nothing, voxel indices for .mesh.
    Between voxel indices and millimetres, --like names the image of the indices, or --grid and --spacing state it.

    Of a folder every mask and surface is taken, sub-folders mirrored; files that are there are kept, so that a run
    that stopped goes on.
    """
    if source.is_dir():
        wanted = _Wanted(check_mesh_format(fmt), space, smooth, GridChoice(like, grid, spacing))
        suffixes = [*_MASK_SUFFIXES, *(f".{name}" for name in MESH_FORMATS)]
        items = find_items(source, out, suffixes, [f".{wanted.fmt}", ""])
        run_items(items, lambda item: _mesh_item(item, wanted, label), force=force)
        return
    own = out.suffix.removeprefix(".").lower()
    to_file = own in MESH_FORMATS or (bool(own) and not out.is_dir())
    wanted = _Wanted(check_mesh_format(own if to_file else fmt), space, smooth, GridChoice(like, grid, spacing))
    if not _is_mask(source):
        if smooth or label is not None:
            raise OptionError("--smooth and --label are for masks", expected="a NIfTI mask", found="a surface")
        target = out if to_file else out / f"{source.stem}.{wanted.fmt}"
        typer.echo(_convert(source, target, wanted, wanted.choice.of(source)))
        return
    surfaces, volume = _read_surfaces(source, wanted, label)
    if to_file and set(surfaces) != {None}:
        found = ", ".join(str(name) for name in surfaces)
        raise OptionError("the mask holds several labels", expected="a folder to write to, or --label", found=found)
    for name, surface in surfaces.items():
        stem = name or source.name.removesuffix(".gz").removesuffix(".nii")
        typer.echo(_write(surface, out if to_file else out / f"{stem}.{wanted.fmt}", wanted, volume, stem))


def _mesh_item(item: Item, wanted: _Wanted, label: int | None) -> None:
    """Make the surface or surfaces of one file of a folder."""
    file, folder = item.targets
    if not _is_mask(item.source):
        _convert(item.source, file, wanted, wanted.choice.of(item.source, item.name))
        return
    surfaces, volume = _read_surfaces(item.source, wanted, label)
    if set(surfaces) == {None}:
        _write(surfaces[None], file, wanted, volume, folder.name)
        return
    with published_path(folder) as staging:
        for name, surface in surfaces.items():
            _write(surface, staging / f"{name}.{wanted.fmt}", wanted, volume, str(name))


def _is_mask(path: Path) -> bool:
    """Whether a file is a mask, by its name."""
    return path.name.lower().endswith(_MASK_SUFFIXES)


def _read_surfaces(source: Path, wanted: _Wanted, label: int | None) -> tuple[dict[str | None, SurfaceMesh], Volume]:
    """Give the surfaces of a mask, under None when it is a single one, in RAS mm, and its grid."""
    # Marching cubes is loaded here so that converting surfaces does not wait for it.
    from model.evaluation.files import read_mask
    from model.masks.surfaces import is_label_map, label_names, labels_of, mask_surface_ras
    from model.volumes.grid import grid_of_image

    data, grid = read_mask(source)[0], grid_of_image(source)
    labels = labels_of(data)
    if label is not None:
        if label not in labels:
            raise OptionError("the mask has no such label", expected=", ".join(map(str, labels)), found=str(label))
        return {None: mask_surface_ras(data == label, grid.affine, wanted.smooth)}, grid
    if not is_label_map(labels):
        return {None: mask_surface_ras(data != 0, grid.affine, wanted.smooth)}, grid
    names = label_names(labels)
    return {names[at]: mask_surface_ras(data == at, grid.affine, wanted.smooth) for at in labels}, grid


def _convert(source: Path, target: Path, wanted: _Wanted, grid: Volume | None) -> str:
    """Convert a surface and give the result in words."""
    return _write(read_mesh(source), target, wanted, grid, source.stem)


def _write(surface: SurfaceMesh, target: Path, wanted: _Wanted, grid: Volume | None, title: str) -> str:
    """Write a surface in the space asked for and give the result in words."""
    space = _SPACES[default_space(wanted.fmt) if wanted.space is None else wanted.space.value]
    converted = to_space(surface, space, None if grid is None else grid.affine)
    with published_path(target) as path:
        write_mesh(
            converted,
            path,
            wanted.fmt,
            title=title,
            colour=structure_by_id(title).colour if title in STRUCTURE_IDS else _GREY,
            grid=None if grid is None else grid.shape,
            spacing_mm=None if grid is None else grid.spacing_mm,
        )
    return f"{target.name}: {len(converted.vertices)} vertices, {len(converted.triangles)} triangles, {space}"
