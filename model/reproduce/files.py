"""The files of recomputed predictions, in the folders of the release.

| file | holds |
|---|---|
| `mask/<method>/<code>/<case>.nii.gz` | mask on the crop's grid; its header's text says what computed it |
| `mesh/<method>/<code>/<case>.mesh` | surface in crop voxels; missing when the mask is empty |

A file has its name only once it is whole. Of a case, masks come first and surfaces last.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import ImageError, MeshError, OptionError
from model.meshes.formats import write_mesh
from model.meshes.published import decode_published
from model.reproduce.predictor import MapPredictor, Prediction
from model.reproduce.stored import read_stored
from model.structures import structure_by_id
from model.volumes.write import write_nifti


class CaseState(Enum):
    """What is there of a case."""

    DONE = "all files, whole"
    OPEN = "nothing, or a part"
    OTHER = "files that other weights, another atlas or another program made"


class ResultFiles:
    """The files of one method in a folder."""

    def __init__(self, out: Path, predictor: MapPredictor) -> None:
        """Name the folders; nothing is made yet.

        Raises:
            OptionError: `out` is a file.
        """
        if out.exists() and not out.is_dir():
            raise OptionError("the output folder cannot be used", expected="a folder or a new name", found="a file")
        self.masks, self.meshes = out / "mask" / predictor.method, out / "mesh" / predictor.method
        self.structures = predictor.structures
        self.mark = f"cochlear {predictor.method} {predictor.fingerprint}"

    def state(self, case: str) -> CaseState:
        """Look at what is there of a case."""
        contents = {name: _read_mask(self._mask(case, name)) for name in self.structures}
        texts = {content[0] for content in contents.values() if content is not None}
        meshes = {name for name in self.structures if self._mesh(case, name).exists()}
        if texts - {self.mark} or (meshes and not texts):
            return CaseState.OTHER
        for name, content in contents.items():
            path = self._mesh(case, name)
            if content is None or not (_is_whole_mesh(path) if path.exists() else content[1] == 0):
                return CaseState.OPEN
        return CaseState.DONE

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Make the folders and give a temporary one among them, for one process at a time.

        Raises:
            OptionError: another process writes there.
        """
        for name in self.structures:
            for folder in (self.masks, self.meshes):
                (folder / structure_by_id(name).code).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.masks, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OptionError("another run writes to this folder", hint="wait for its end") from error
            # Only a killed run leaves one behind.
            staging = self.masks / ".partial"
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        finally:
            os.close(descriptor)

    def write(self, case: str, prediction: Prediction, affine: npt.NDArray[np.float64], staging: Path) -> None:
        """Write all files of a case in place of earlier ones.

        Args:
            case: name of the case.
            prediction: what to write.
            affine: (4, 4) crop voxels -> RAS mm.
            staging: what `writing` gives.

        Raises:
            OSError: a file cannot be written.
        """
        # Surfaces that are there vouch for the masks, so earlier ones go first.
        for name in self.structures:
            self._mesh(case, name).unlink(missing_ok=True)
        for name in self.structures:
            path = staging / "mask.nii.gz"
            write_nifti(path, prediction.masks[name].view(np.uint8), affine, description=self.mark)
            path.replace(self._mask(case, name))
        for name in self.structures:
            if name in prediction.meshes_ijk:
                path = staging / "surface.mesh"
                write_mesh(prediction.meshes_ijk[name], path, colour=structure_by_id(name).colour)
                path.replace(self._mesh(case, name))

    def _mask(self, case: str, name: str) -> Path:
        """Name the mask of a structure."""
        return self.masks / structure_by_id(name).code / f"{case}.nii.gz"

    def _mesh(self, case: str, name: str) -> Path:
        """Name the surface of a structure."""
        return self.meshes / structure_by_id(name).code / f"{case}.mesh"


def _read_mask(path: Path) -> tuple[str, int] | None:
    """Give the text in the header of a mask and its number of voxels; None when it is not there or damaged."""
    if not path.exists():
        return None
    try:
        stored = read_stored(path)
    except ImageError:
        return None
    return stored.description, int(np.count_nonzero(stored.values))


def _is_whole_mesh(path: Path) -> bool:
    """Whether a surface can be read."""
    try:
        decode_published(path.read_bytes())
    except MeshError:
        return False
    return True
