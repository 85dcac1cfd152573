"""`cochlear voxelize`: a closed surface to a mask on the grid of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from model.evaluation.overlap import volume_mm3
from model.masks.voxelize import voxelize as voxelize_mesh
from model.meshes.convert import to_space
from model.meshes.formats import read_mesh
from model.volumes.read import read_image
from model.volumes.write import write_nifti


def voxelize(
    mesh: Annotated[Path, typer.Argument(help="Closed surface: vtk, vtp, stl, ply, obj, glb or published .mesh.")],
    image: Annotated[Path, typer.Option("--like", help="NIfTI image whose grid the mask gets.")],
    out: Annotated[Path, typer.Option("--out", help="Mask to write, .nii or .nii.gz.")],
) -> None:
    """Write the mask of a closed surface: a voxel is in when at least half of it is inside.

    The space of the surface is taken from its file: LPS where it says nothing, voxel indices of the image for .mesh.
    """
    volume = read_image(image)
    surface = to_space(read_mesh(mesh), "ijk", volume.affine)
    mask = voxelize_mesh(surface, volume.shape)
    write_nifti(out, mask.view(np.uint8), volume.affine, like=volume)
    typer.echo(f"{out.name}: {int(np.count_nonzero(mask))} voxels, {volume_mm3(mask, volume.affine):.1f} mm3")
