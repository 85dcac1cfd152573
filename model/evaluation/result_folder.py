"""The folder of one result, as `cochlear segment` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from model.errors import ImageError, InputError
from model.evaluation.case_files import Grid, mask_files, mesh_files, read_binary, read_grid, read_meshes_ras
from model.evaluation.folds import DisplacementField
from model.evaluation.truth import BoolArray
from model.meshes.mesh import SurfaceMesh


@dataclass(frozen=True)
class ResultFolder:
    """One result: `meshes/<structure>.<format>`, `masks/<structure>.nii.gz`, `displacement.nii.gz`, each optional."""

    path: Path

    @property
    def usable(self) -> bool:
        """Whether there is a mesh or mask of any structure."""
        return bool(mesh_files(self.path / "meshes") or mask_files(self.path / "masks"))

    def problems(self, grid: Grid | None) -> list[str]:
        """Say what is wrong with the masks, going by their headers: one line each, none when all is well.

        Args:
            grid: where the masks have to lie.
        """
        found = []
        for name, path in mask_files(self.path / "masks").items():
            try:
                own = read_grid(path)
            except InputError as error:
                found.append(f"{name}: {error}")
                continue
            if grid is not None and not own.matches(grid):
                other = "another affine" if own.shape == grid.shape else f"shape {own.shape}, not {grid.shape}"
                found.append(f"the mask of {name} lies on another grid than the truth ({other})")
        return found

    def meshes_ras(self) -> dict[str, SurfaceMesh]:
        """Read the surfaces, in RAS mm."""
        return read_meshes_ras(self.path / "meshes")

    def masks(self) -> dict[str, BoolArray]:
        """Read the masks."""
        return {name: read_binary(path) for name, path in mask_files(self.path / "masks").items()}

    def field(self) -> DisplacementField | None:
        """Read the displacement field (5-D NIfTI of LPS mm, as ITK has it); None when there is none.

        Where the vector is exactly zero the file says nothing: those voxels lie outside the canonical crop. A field of
        nothing but zeros is one that moves nothing.

        Raises:
            ImageError: the file holds something else.
        """
        path = self.path / "displacement.nii.gz"
        if not path.is_file():
            return None
        try:
            image = cast("Any", nibabel.load(path))
            vectors = np.asarray(image.dataobj, dtype=np.float32)
        except (OSError, ImageFileError, EOFError, ValueError) as error:
            raise ImageError("the displacement field cannot be read", expected="a NIfTI file") from error
        if vectors.ndim != 5 or vectors.shape[3:] != (1, 3):
            raise ImageError(
                "the displacement field cannot be used", expected="shape (I, J, K, 1, 3)", found=str(vectors.shape)
            )
        affine = np.asarray(image.affine, dtype=np.float64)
        lps_to_ijk = np.linalg.inv(affine[:3, :3]) @ np.diag([-1.0, -1.0, 1.0])
        ddf = np.einsum("cd,ijkd->cijk", lps_to_ijk.astype(np.float32), vectors[:, :, :, 0, :])
        known = np.any(ddf != 0, axis=0)
        return DisplacementField(ddf, affine, known if known.any() else None)
