"""The folder of what is true of one case."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import ImageError, InputError
from model.evaluation.case_files import Grid, mask_files, mesh_files, read_binary, read_grid, read_meshes_ras
from model.evaluation.files import read_mask
from model.evaluation.truth import CaseTruth
from model.structures import LABYRINTH, STRUCTURES

WITH_METAL, WITHOUT_METAL = "with_metal", "without_metal"
"""The groups that synthetic ears fall into."""


@dataclass(frozen=True)
class TruthFolder:
    """What is true of one case, as the real ears and `cochlear synthesize` have it.

    | file | what |
    |---|---|
    | `truth/<structure>.<format>` | true surface |
    | `<structure>.nii.gz`, such as `labyrinth.nii.gz` | true mask |
    | `truth/labels.nii.gz` | label map; masks of the inner structures that have neither of the above |
    | `ct.nii.gz` | the image; its grid counts where there is no mask |
    | `ear.json` | record of a synthetic ear: `implant` is null without metal |
    """

    path: Path

    @property
    def usable(self) -> bool:
        """Whether anything is known to be true."""
        return bool(mesh_files(self.path / "truth") or mask_files(self.path) or self._labels.is_file())

    @property
    def group(self) -> str | None:
        """The group the case's own record puts it in: with or without metal; None when it says nothing.

        Raises:
            InputError: the record cannot be read.
        """
        path = self.path / "ear.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError("the record of the ear cannot be read", expected="JSON in ear.json") from error
        if not isinstance(record, dict) or "implant" not in record:
            return None
        return WITHOUT_METAL if record["implant"] is None else WITH_METAL

    def grid(self) -> Grid | None:
        """Read the grid on which Dice is counted: that of the masks, else of the label map, else of the image.

        Raises:
            ImageError: an image cannot be read, or the masks lie on different grids.
        """
        masks = list(mask_files(self.path).values())
        paths = [*masks, *(path for path in (self._labels, self.path / "ct.nii.gz") if path.is_file())]
        if not paths:
            return None
        grid = read_grid(paths[0])
        for path in (*masks[1:], *([self._labels] if self._labels.is_file() else [])):
            if not read_grid(path).matches(grid):
                raise ImageError("the true masks lie on different grids", expected="one grid", found=path.name)
        return grid

    def read(self) -> CaseTruth:
        """Read the truth.

        Raises:
            ImageError, MeshError: a file cannot be read.
        """
        grid = self.grid()
        meshes = read_meshes_ras(self.path / "truth")
        masks = {name: read_binary(path) for name, path in mask_files(self.path).items()}
        if self._labels.is_file():
            labels, _ = read_mask(self._labels)
            for structure in STRUCTURES:
                # In a label map the labyrinth lacks what the inner structures take, so it is never taken from there.
                known = structure.id in masks or structure.id in meshes or structure is LABYRINTH
                if not known and (labels == structure.label).any():
                    masks[structure.id] = np.asarray(labels == structure.label)
        if grid is None:
            return CaseTruth(meshes, masks)
        return CaseTruth(meshes, masks, grid.affine, grid.shape)

    @property
    def _labels(self) -> Path:
        return self.path / "truth" / "labels.nii.gz"


def read_groups(path: Path) -> dict[str, str]:
    """Read the groups of cases: a JSON object of case names and group names.

    Raises:
        InputError: the file holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("the groups cannot be read", expected="a JSON object of cases and groups") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise InputError("the groups cannot be used", expected="a JSON object of cases and names of groups")
    return document
