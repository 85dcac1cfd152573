"""The files of the published networks are found, or said to be missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import ReleaseError
from model.release.nnunet.files import TASKS, find_fold, find_task
from model.structures import STRUCTURE_IDS


def touch(root: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_tasks_are_of_all_structures_once() -> None:
    assert sorted(name for names in TASKS.values() for name in names) == sorted(STRUCTURE_IDS)


def test_task_is_found_below_the_checkpoints(tmp_path: Path) -> None:
    trainer = "Task602_Cochlea/nnUNetTrainerV2__nnUNetPlansv2.1"
    touch(tmp_path, f"nnUNet/3d_fullres/{trainer}/fold_0/model_best.model", f"nnUNet/3d_fullres/{trainer}/plans.pkl")
    touch(tmp_path, f"nnUNet/3d_lowres/{trainer}/fold_0/model_best.model")
    touch(tmp_path, f"nnUNet/3d_fullres/{trainer.replace('602', '606')}/fold_1/model_best.model")
    assert find_task(tmp_path, 602) == tmp_path / "nnUNet/3d_fullres" / trainer / "fold_0"
    for task in (604, 606):
        with pytest.raises(ReleaseError, match=f"task {task} is not known.*found 0"):
            find_task(tmp_path, task)
    touch(tmp_path, "other/3d_fullres/Task602_B/nnUNetTrainerV2__x/fold_0/model_best.model")
    with pytest.raises(ReleaseError, match="found 2"):
        find_task(tmp_path, 602)


def test_fold_is_the_folder_or_its_first(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"expected model_best\.model and model_best\.model\.pkl"):
        find_fold(tmp_path)
    touch(tmp_path, "all/model_best.model")
    assert find_fold(tmp_path) == find_fold(tmp_path / "all") == tmp_path / "all"
    touch(tmp_path, "fold_0/model_best.model", "fold_1/model_best.model")
    assert find_fold(tmp_path) == tmp_path / "fold_0"
