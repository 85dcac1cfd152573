"""Where the files of the published nnU-Nets lie, and of which structures they are.

Three networks were trained, one a task. The folder of checkpoints holds them as nnU-Net writes its results,
`.../3d_fullres/Task602_<name>/nnUNetTrainerV2__nnUNetPlansv2.1/fold_0/model_best.model` and `.pkl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.errors import ReleaseError

TASKS: Mapping[int, tuple[str, ...]] = {
    602: ("modiolus",),
    604: ("scala_tympani", "scala_vestibuli"),
    606: ("labyrinth",),
}
"""Structures of the labels 1, 2, ... of the published tasks.

The publishers name the tasks MD, STSV and labyrinth; that ST is label 1 and SV label 2 is taken from that name.
"""

WEIGHTS_FILE = "model_best.model"
PLANS_FILE = "model_best.model.pkl"
POSTPROCESSING_FILE = "postprocessing.json"

_FOLDS = ("fold_0", "all")


def find_task(root: Path, task: int) -> Path:
    """Find the fold of a task that the published program used, the first, anywhere below a folder.

    Raises:
        ReleaseError: there is none, or there are several.
    """
    wanted = f"Task{task:03d}_*/nnUNetTrainerV2__*/fold_0/{WEIGHTS_FILE}"
    found = [file.parent for file in sorted(root.rglob(wanted)) if file.is_file()]
    if len(found) > 1:
        # The published program asked for this one of nnU-Net's configurations.
        found = [fold for fold in found if fold.parents[2].name == "3d_fullres"] or found
    if len(found) != 1:
        raise ReleaseError(f"the nnU-Net of task {task} is not known", expected=f"one {wanted}", found=f"{len(found)}")
    return found[0]


def find_fold(folder: Path) -> Path:
    """Give the folder that holds the weights: the one given, or its first fold.

    Raises:
        ReleaseError: neither holds them.
    """
    for place in (folder, *(folder / fold for fold in _FOLDS)):
        if (place / WEIGHTS_FILE).is_file():
            return place
    raise ReleaseError(
        "the nnU-Net is missing", expected=f"{WEIGHTS_FILE} and {PLANS_FILE}", hint="name the folder of its fold"
    )
