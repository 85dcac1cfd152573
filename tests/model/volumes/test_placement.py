"""Choosing the affine of an image."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from volume_fixtures import pose

from model.volumes.read import read_image

DATA = np.arange(16 * 18 * 20, dtype=np.int16).reshape(16, 18, 20)
SCALE = np.diag([0.5, 0.4, 0.6, 1.0])


def saved(path: Path, sform: npt.NDArray[np.float64] | None, qform: npt.NDArray[np.float64] | None) -> Path:
    image = nibabel.Nifti1Image(DATA, sform if sform is not None else qform)
    image.set_qform(qform, code=0 if qform is None else 1)
    image.set_sform(sform, code=0 if sform is None else 2)
    nibabel.save(image, path)
    return path


def test_oblique_qform_alone_counts(tmp_path: Path) -> None:
    qform = pose((10, 20, 30), (1, 2, 3)) @ SCALE @ np.diag([-1, 1, 1, 1])
    volume = read_image(saved(tmp_path / "ear.nii", None, qform))
    assert np.allclose(volume.affine, qform, atol=1e-5)
    assert volume.affine_declared
    assert volume.warnings == ()


def test_agreeing_forms_give_no_warning(tmp_path: Path) -> None:
    affine = pose((10, 20, 30), (1, 2, 3)) @ SCALE
    volume = read_image(saved(tmp_path / "ear.nii", affine, affine))
    assert np.allclose(volume.affine, affine, atol=1e-5)
    assert volume.warnings == ()


def test_disagreeing_forms_give_the_sform_and_a_warning(tmp_path: Path) -> None:
    sform, qform = pose((0, 0, 10), (1, 2, 3)) @ SCALE, pose((0, 0, 0), (1, 2, 3)) @ SCALE
    volume = read_image(saved(tmp_path / "ear.nii", sform, qform))
    assert np.allclose(volume.affine, sform, atol=1e-5)
    assert any("qform and sform disagree" in warning for warning in volume.warnings)


def test_invalid_quaternion_beside_an_sform_gives_a_warning(tmp_path: Path) -> None:
    path = saved(tmp_path / "ear.nii", SCALE, SCALE)
    content = bytearray(path.read_bytes())
    content[256:268] = np.array([3.0, 3.0, 3.0], dtype="<f4").tobytes()
    path.write_bytes(content)
    volume = read_image(path)
    assert np.allclose(volume.affine, SCALE, atol=1e-6)
    assert any("disagree" in warning for warning in volume.warnings)


def test_sheared_sform_is_used_with_a_warning(tmp_path: Path) -> None:
    affine = SCALE.copy()
    affine[1, 2] = 0.1
    volume = read_image(saved(tmp_path / "ear.nii", affine, None))
    assert np.allclose(volume.affine, affine, atol=1e-6)
    assert any("sheared" in warning for warning in volume.warnings)


def test_pixdim_that_contradicts_the_affine_gives_a_warning(tmp_path: Path) -> None:
    path = saved(tmp_path / "ear.nii", SCALE, None)
    content = bytearray(path.read_bytes())
    content[80:92] = np.array([0.9, 0.9, 0.9], dtype="<f4").tobytes()
    path.write_bytes(content)
    volume = read_image(path)
    assert volume.spacing_mm == pytest.approx((0.5, 0.4, 0.6))
    assert any("pixdim" in warning for warning in volume.warnings)


def test_no_form_at_all_means_lps_axes_with_a_warning(tmp_path: Path) -> None:
    path = saved(tmp_path / "ear.nii", SCALE, SCALE)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)
    path.write_bytes(content)
    volume = read_image(path)
    assert not volume.affine_declared
    assert np.allclose(volume.affine, np.diag([-0.5, -0.4, 0.6, 1.0]))
    assert any("L, P, S" in warning for warning in volume.warnings)
