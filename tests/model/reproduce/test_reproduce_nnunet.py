"""nnU-Net's masks in the folders of the release, by way of its label map."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nnunet_fixtures import PATCH, first_layer, make_image, make_plans, make_state, write_model
from threshold_maps import save_map

from model.errors import OptionError, ReleaseError
from model.meshes.formats import read_mesh
from model.release.nnunet.model import NnUnetModel
from model.reproduce.nnunet import predictor_of_nnunet
from model.reproduce.run import reproduce

CPU = torch.device("cpu")
TRAINER = Path("nnUNet") / "3d_fullres" / "Task604_STSV" / "nnUNetTrainerV2__nnUNetPlansv2.1"


def test_the_labels_of_a_task_become_masks_and_surfaces(tmp_path: Path) -> None:
    fold = write_model(tmp_path / TRAINER / "fold_0")
    activation = first_layer(make_state(), make_image(PATCH))
    save_map(tmp_path / "maps", "ear_0000", activation)
    for folder, task in ((tmp_path, 604), (fold, None), (fold.parent, 604)):
        predictor = predictor_of_nnunet(folder, task, CPU)
        result = reproduce(tmp_path / "maps", predictor, tmp_path / "out")
        assert result.done + result.skipped == ["ear"]
    labels = NnUnetModel.load(fold).predict(activation)
    assert set(np.unique(labels)) == {0, 1, 2}
    for label, code in ((1, "ST"), (2, "SV")):
        mask = nibabel.Nifti1Image.from_filename(tmp_path / "out" / "mask" / "nnunet" / code / "ear.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), labels == label)
        surface = read_mesh(tmp_path / "out" / "mesh" / "nnunet" / code / "ear.mesh")
        assert np.argwhere(labels == label).min(axis=0) == pytest.approx(surface.vertices.min(axis=0) + 0.5)
    assert not (tmp_path / "out" / "mask" / "nnunet" / "MD").exists()


def test_maps_and_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    fold = write_model(tmp_path / TRAINER / "fold_0")
    for folder, task, found in ((tmp_path, None, "neither"), (fold, 602, "602 and 604"), (tmp_path, 7, "found 7")):
        with pytest.raises(OptionError, match=found):
            predictor_of_nnunet(folder, task, CPU)
    with pytest.raises(ReleaseError, match="602"):
        predictor_of_nnunet(tmp_path, 602, CPU)
    with pytest.raises(ReleaseError, match="4 x I x J x K"):
        predictor_of_nnunet(fold, None, CPU).check_shape((5, *PATCH))
    write_model(tmp_path / "Task606_CC" / "nnUNetTrainerV2__p" / "fold_0", plans=make_plans(labels=2))
    with pytest.raises(OptionError, match="1 labels"):
        predictor_of_nnunet(tmp_path, 606, CPU)


def test_a_case_with_two_maps_is_refused(tmp_path: Path) -> None:
    fold = write_model(tmp_path / TRAINER / "fold_0")
    for case in ("ear", "ear_0000"):
        save_map(tmp_path / "maps", case, first_layer(make_state(), make_image(PATCH)))
    with pytest.raises(ReleaseError, match=r"ear.nii.gz and ear_0000.nii.gz|ear_0000.nii.gz and ear.nii.gz"):
        reproduce(tmp_path / "maps", predictor_of_nnunet(fold, None, CPU), tmp_path / "out")
