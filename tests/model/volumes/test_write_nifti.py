"""Written images lie where they should, for nibabel and for ITK."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from volume_fixtures import load_nifti, pose

from model.volumes.read import read_image
from model.volumes.write import write_nifti

LABELS = (np.arange(20 * 22 * 24) % 5).astype(np.uint8).reshape(20, 22, 24)
AFFINE = pose((10, 20, 30), (1, 2, 3)) @ np.diag([-0.5, 0.4, 0.6, 1.0])


@pytest.mark.parametrize("name", ["labels.nii", "labels.nii.gz"])
def test_reopened_by_nibabel(tmp_path: Path, name: str) -> None:
    write_nifti(tmp_path / name, LABELS, AFFINE, intent=1002, intent_name="labels", description="structures")
    image = load_nifti(tmp_path / name)
    assert np.array_equal(np.asarray(image.dataobj), LABELS)
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, AFFINE, atol=1e-6)
    assert np.allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert image.header.get_intent()[0] == "label"
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.array_equal(read_image(tmp_path / name).data, LABELS)


def test_reopened_by_itk(tmp_path: Path) -> None:
    write_nifti(tmp_path / "labels.nii.gz", LABELS, AFFINE)
    image = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), LABELS.transpose(2, 1, 0))
    corner_lps = image.TransformIndexToPhysicalPoint((19, 0, 23))
    corner_ras = AFFINE @ [19, 0, 23, 1]
    assert np.allclose(corner_lps, [-corner_ras[0], -corner_ras[1], corner_ras[2]], atol=1e-4)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", LABELS, AFFINE)
    write_nifti(tmp_path / "b.nii.gz", LABELS, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_coordinate_code_of_the_source_is_kept(tmp_path: Path) -> None:
    source = nibabel.Nifti1Image(LABELS, AFFINE)
    source.set_sform(AFFINE, code=4)
    nibabel.save(source, tmp_path / "source.nii")
    write_nifti(tmp_path / "labels.nii", LABELS, AFFINE, like=read_image(tmp_path / "source.nii"))
    assert int(load_nifti(tmp_path / "labels.nii").header["sform_code"]) == 4


def test_shear_goes_into_the_sform_alone(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[:3, 2] += 0.1 * sheared[:3, 0]
    write_nifti(tmp_path / "labels.nii", LABELS, sheared)
    image = load_nifti(tmp_path / "labels.nii")
    assert np.allclose(image.affine, sheared, atol=1e-6)
    assert int(image.header["qform_code"]) == 0
    assert np.allclose(read_image(tmp_path / "labels.nii").affine, sheared, atol=1e-6)


def test_vectors(tmp_path: Path) -> None:
    field = np.random.default_rng(0).normal(size=(6, 7, 8, 1, 3)).astype(np.float32)
    write_nifti(tmp_path / "field.nii.gz", field, AFFINE, intent=1007)
    image = sitk.ReadImage(str(tmp_path / "field.nii.gz"))
    assert image.GetNumberOfComponentsPerPixel() == 3
    assert np.allclose(np.abs(sitk.GetArrayFromImage(image)), np.abs(field[:, :, :, 0].transpose(2, 1, 0, 3)))
