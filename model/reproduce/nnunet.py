"""Masks and surfaces from the activation maps of the published nnU-Nets (version 1), of which there is one a task."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model.errors import OptionError
from model.inference.device_errors import device_errors
from model.release.activation import check_origin
from model.release.atlas_files import SPACING_MM
from model.release.nnunet.files import TASKS, find_fold, find_task
from model.release.nnunet.model import NnUnetModel, label_masks
from model.reproduce.arithmetic import full_precision
from model.reproduce.fingerprint import fingerprint
from model.reproduce.maps import check_map_shape
from model.reproduce.predictor import Prediction, with_surfaces

_TASK = re.compile(r"Task(\d{3})_.*")


class NnUnetMaps:
    """The network of one task; see `MapPredictor`.

    A map holds the first convolution's output for the patient, bias included. Crops of any grid are taken, since
    nnU-Net looks at them tile by tile.
    """

    method, spacing_mm = "nnunet", SPACING_MM
    map_suffixes = ("_0000.nii.gz", ".nii.gz")

    def __init__(self, model: NnUnetModel, structures: tuple[str, ...]) -> None:
        """Keep a loaded network.

        Args:
            model: the network, on its device.
            structures: ids of its labels 1, 2, ...

        Raises:
            OptionError: the network has another number of labels.
        """
        if model.plans.classes != len(structures) + 1:
            raise OptionError(
                "the nnU-Net is of another task",
                expected=f"{len(structures)} labels ({', '.join(structures)})",
                found=f"{model.plans.classes - 1}",
            )
        self.model, self.structures = model, structures
        settings = (*structures, repr(model.plans), repr(model.postprocessing))
        self.fingerprint = fingerprint(model.network, None, *settings)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Judge a map by its header; see `MapPredictor`."""
        check_map_shape(shape, self.model.plans.base_width)

    def predict(self, activation: npt.NDArray[np.float32]) -> Prediction:
        """Segment; see `MapPredictor`."""
        weight, bias = (tensor.cpu().numpy() for tensor in self.model.network.first.conv.parameters())
        check_origin(activation, weight, bias, "the map")
        with device_errors(), full_precision():
            labels = self.model.predict(activation)
        return with_surfaces(label_masks(labels, self.structures))


def predictor_of_nnunet(folder: Path, task: int | None, device: torch.device) -> NnUnetMaps:
    """Load the nnU-Net of a task.

    Args:
        folder: of a fold, of its trainer (`nnUNetTrainerV2__...`), or any in which the task's lies.
        task: 602 (modiolus), 604 (scalae) or 606 (labyrinth); None takes it from the folder's path.
        device: where to compute.

    Raises:
        OptionError: the task is not known or contradicts the path.
        ReleaseError: the network is missing, damaged or of another kind.
    """
    named = [int(found[1]) for part in folder.resolve().parts if (found := _TASK.fullmatch(part))][-1:]
    asked = named if task is None else [task]
    if not set(asked) <= set(TASKS) or not asked or (named and named != asked):
        raise OptionError(
            "the nnU-Net's task cannot be used",
            expected=" or ".join(map(str, TASKS)) + ", said by --nnunet-task or by a folder Task<number>_<name>",
            found=" and ".join(map(str, sorted({*asked, *named}))) or "neither",
        )
    chosen = asked[0]
    fold = find_fold(folder) if named else find_task(folder, chosen)
    return NnUnetMaps(NnUnetModel.load(fold, device=device), TASKS[chosen])
