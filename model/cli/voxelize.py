"""`cochlear voxelize`: closed surfaces to masks on the grid of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from model.cli.batch import Item, find_items, run_items
from model.cli.grids import GridChoice, GridOption, SpacingOption
from model.cli.request import check_image_name
from model.evaluation.overlap import volume_mm3
from model.masks.voxelize import voxelize_structures
from model.meshes.convert import to_space
from model.meshes.formats import MESH_FORMATS, read_mesh
from model.outputs.publish import published_path
from model.volumes.volume import Volume
from model.volumes.write import write_nifti


def voxelize(
    mesh: Annotated[
        Path, typer.Argument(help="Closed surface: vtk, vtp, stl, ply, obj, glb or published .mesh; or a folder.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Mask to write, .nii or .nii.gz; for a folder a folder.")],
    like: Annotated[
        Path | None,
        typer.Option("--like", help="NIfTI image whose grid the mask gets; for a folder also a folder of images."),
    ] = None,
    grid: GridOption = None,
    spacing: SpacingOption = None,
    force: Annotated[bool, typer.Option("--force", help="Folder: make masks anew that are there already.")] = False,
) -> None:
    """Write the mask of a closed surface: a voxel is in when at least half of it is inside.

    The space of the surface is taken from its file: LPS where it says nothing, voxel indices of the grid for .mesh.
    The grid is that of --like, or the one stated by --grid and --spacing (axes to L, P, S as in published crops), or
    the one a .mesh file states itself.

    Of a folder every surface is voxelized, sub-folders mirrored; of images in a folder the one at the same place
    counts, or the one named as the folder that the surface lies in. Masks that are there are kept: a run that stopped
    goes on.
    """
    choice = GridChoice(like, grid, spacing)
    if mesh.is_dir():
        items = find_items(mesh, out, [f".{fmt}" for fmt in MESH_FORMATS], [".nii.gz"])
        run_items(items, lambda item: _voxelize_item(item, choice), force=force)
        return
    check_image_name(out)
    typer.echo(f"{out.name}: {_voxelize_file(mesh, out, choice.needed_of(mesh))}")


def _voxelize_item(item: Item, choice: GridChoice) -> None:
    """Voxelize one surface of a folder."""
    _voxelize_file(item.source, item.targets[0], choice.needed_of(item.source, item.name))


def _voxelize_file(mesh: Path, out: Path, grid: Volume) -> str:
    """Write one mask and give its size in words."""
    surface = to_space(read_mesh(mesh), "ras", grid.affine)
    mask = voxelize_structures({"mask": surface}, grid.affine, grid.shape)["mask"]
    with published_path(out) as path:
        write_nifti(path, mask.view(np.uint8), grid.affine, like=grid)
    return f"{int(np.count_nonzero(mask))} voxels, {volume_mm3(mask, grid.affine):.1f} mm3"
