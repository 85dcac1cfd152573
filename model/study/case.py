"""One ear of a study: its image as a user would send it, and its truth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.bundle import Bundle
from model.errors import InputError
from model.evaluation.truth import CaseTruth
from model.geometry.landmarks import Landmarks
from model.meshes.convert import to_space
from model.meshes.formats import read_mesh
from model.request import CheckedRequest, check_request
from model.structures import LABYRINTH, STRUCTURE_IDS
from model.volumes.read import read_image

IMAGE, LABEL, LANDMARKS, TRUTH = "ct.nii.gz", "labyrinth.nii.gz", "landmarks.json", "truth"
"""Files of an ear's folder: real ears have the first three, synthetic ones all."""


@dataclass(frozen=True)
class StudyCase:
    """One ear of a study.

    Attributes:
        group: the set it belongs to.
        name: unique within the group.
        folder: has the image, and `truth/<structure>.vtk` or else the label of the labyrinth.
        landmarks: the file of its landmarks; None of a prepared crop (of a left ear).
    """

    group: str
    name: str
    folder: Path
    landmarks: Path | None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the image, the landmarks and the truth.

        Raises:
            InputError: a file is missing.
        """
        whole = hashlib.sha256()
        landmarks = [] if self.landmarks is None else [self.landmarks]
        for path in (self.folder / IMAGE, *landmarks, *self._truth_files()):
            try:
                whole.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise InputError(f"ear {self.name} cannot be read", expected=path.name) from error
        return whole.hexdigest()

    def request(self, bundle: Bundle) -> CheckedRequest:
        """Check the image for a model.

        Raises:
            InputError: the model cannot take it.
        """
        landmarks = None if self.landmarks is None else Landmarks.parse(self.landmarks.read_bytes())
        return check_request(
            self.folder / IMAGE,
            landmarks=landmarks,
            side="left" if landmarks is None else None,
            frame=bundle.frame,
            intensity=bundle.intensity,
        )

    def truth(self) -> CaseTruth:
        """Read what the ear is known to be, on the grid of its image.

        True surfaces count where there are some, with their masks voxelized by the same rule as those of results;
        otherwise the label of the labyrinth does.
        """
        volume = read_image(self.folder / IMAGE)
        if self._has_surfaces():
            meshes = {path.stem: to_space(read_mesh(path), "ras") for path in self._truth_files()}
            return CaseTruth(meshes_ras=meshes, affine=volume.affine, shape=volume.shape)
        label = read_image(self.folder / LABEL).data > 0.5
        return CaseTruth(masks={LABYRINTH.id: label}, affine=volume.affine, shape=volume.shape)

    def _has_surfaces(self) -> bool:
        return (self.folder / TRUTH).is_dir()

    def _truth_files(self) -> list[Path]:
        """Give the files that state the truth."""
        if self._has_surfaces():
            return [self.folder / TRUTH / f"{structure}.vtk" for structure in STRUCTURE_IDS]
        return [self.folder / LABEL]
