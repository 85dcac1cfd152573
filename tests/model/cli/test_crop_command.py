"""`cochlear crop`: the crop leads to the same result as the image it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Cochlear
from ear_fixtures import request_of
from segmentations import open_nifti

from model.bundle import Bundle
from model.geometry.landmarks import Side
from model.request import check_request


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_crop_is_what_the_model_sees_of_the_image(
    cochlear: Cochlear, shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], side: Side, tmp_path: Path
) -> None:
    folder, out = synthetic_ears[side], tmp_path / "new" / "ear.nii.gz"
    ran = cochlear("crop", folder / "ct.nii.gz", "--out", out, "--landmarks", folder / "landmarks.json")
    assert ran.code == 0, ran.err
    request = request_of(folder, shipped_bundle)
    expected, _ = request.canonical_image(shipped_bundle.frame, shipped_bundle.intensity)
    crop = open_nifti(out)
    assert crop.shape == shipped_bundle.frame.grid
    np.testing.assert_allclose(crop.header.get_zooms(), 0.2, atol=1e-6)
    np.testing.assert_allclose(np.asarray(crop.dataobj), expected, atol=1e-6)
    alignment = json.loads((out.parent / "ear.alignment.json").read_text())
    assert alignment["side"] == side
    np.testing.assert_allclose(alignment["ras_to_canonical"], request.alignment.ras_to_canonical)
    again = check_request(out, landmarks=None, side=None, frame=shipped_bundle.frame)
    assert again.kind == "prepared"
    seen, _ = again.canonical_image(shipped_bundle.frame, shipped_bundle.intensity)
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_bad_input_leaves_nothing(cochlear: Cochlear, synthetic_ears: dict[Side, Path], tmp_path: Path) -> None:
    image, out = synthetic_ears["left"] / "ct.nii.gz", tmp_path / "ear.nii.gz"
    cochlear.refuses("crop", image, "--out", out)
    cochlear.refuses("crop", tmp_path / "none.nii", "--out", out)
    landmarks = synthetic_ears["left"] / "landmarks.json"
    cochlear.refuses("crop", image, "--out", tmp_path / "ear.png", "--landmarks", landmarks)
    assert list(tmp_path.iterdir()) == []
