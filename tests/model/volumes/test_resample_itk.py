"""Resampling against ITK, which shares no code with ours and works in LPS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from volume_fixtures import patient_landmarks, pose, random_image, small_frame

from model.geometry.alignment import align_by_landmarks
from model.geometry.landmarks import Side
from model.geometry.spaces import apply_affine
from model.volumes.resample import resample_to_canonical
from model.volumes.volume import Volume

FRAME = small_frame()


def set_geometry(image: sitk.Image, affine_ras: npt.NDArray[np.float64]) -> None:
    """Give an ITK image the place that a RAS affine means."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine_ras[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())


def itk_resampled(volume: Volume, canonical_to_ras: npt.NDArray[np.float64], fill: float) -> npt.NDArray[np.float32]:
    source = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    set_geometry(source, volume.affine)
    target = sitk.Image(list(FRAME.grid), sitk.sitkFloat32)
    set_geometry(target, canonical_to_ras)
    result = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, fill, sitk.sitkFloat32)
    return np.asarray(sitk.GetArrayFromImage(result).transpose(2, 1, 0), dtype=np.float32)


@pytest.mark.parametrize("side", ["left", "right"])
def test_itk_gives_the_same_crop(side: Side) -> None:
    alignment = align_by_landmarks(patient_landmarks(FRAME, side, pose((25, -15, 40), (5, 6, 7))), side, FRAME)
    affine = pose((50, 8, -120), (0, 0, 0)) @ np.diag([0.4, -0.5, 0.6, 1.0])
    middle = apply_affine(alignment.canonical_to_ras, (np.array(FRAME.grid) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ np.array([20.0, 22.0, 15.0])
    volume = random_image((40, 44, 30), affine)
    image, inside = resample_to_canonical(volume, alignment, FRAME, -1000.0)
    reference = itk_resampled(volume, alignment.canonical_to_ras, -1000.0)
    assert 0.1 < inside.mean() < 0.9
    assert np.mean((reference == -1000.0) != ~inside) < 1e-4  # voxels within rounding of the outer faces
    both = inside & (reference != -1000.0)
    assert np.abs(image - reference)[both].max() < 0.05  # of noise with a standard deviation of 500
