"""`cochlear synthesize`: ears in the layout of real ones, from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from cli_runs import Cochlear
from segmentations import open_nifti

from model.bundle import Bundle
from model.geometry.landmarks import Landmarks, Side
from model.structures import STRUCTURE_IDS


def test_an_implanted_ear_is_made(cochlear: Cochlear, shipped_bundle: Bundle, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["--bundle", shipped_bundle.path, "--seed", "7", "--implant", "--side", "right"]
    ran = cochlear("synthesize", "--out", tmp_path, *arguments)
    assert ran.code == 0, ran.err
    folder = tmp_path / "ear-000007"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    truth = {f"truth/{name}.vtk" for name in STRUCTURE_IDS}
    assert files == {"ct.nii.gz", "labyrinth.nii.gz", "landmarks.json", "ear.json", "truth/labels.nii.gz", *truth}
    record = json.loads((folder / "ear.json").read_text())
    assert (record["seed"], record["side"]) == (7, "right")
    assert len(record["contacts_ras"]) > 5
    assert np.asarray(open_nifti(folder / "ct.nii.gz").dataobj).max() > 2500  # metal


def test_implants_are_inserted_into_an_ear(
    cochlear: Cochlear, quick_bundle_path: Path, synthetic_ears: dict[Side, Path], tmp_path: Path
) -> None:
    ear = synthetic_ears["right"]
    out = tmp_path / "implants"
    arguments: list[str | Path] = ["--landmarks", ear / "landmarks.json", "--bundle", quick_bundle_path]
    more: list[str | Path] = ["--seed", "3", "--count", "2", "--maker", "med-el", "--slice-axis", "2"]
    ran = cochlear("synthesize", "--into", ear / "ct.nii.gz", "--out", out, *arguments, *more)
    assert ran.code == 0, ran.err
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    names = ("ct.nii.gz", "metal.nii.gz", "landmarks.json", "implant.json")
    assert files == {f"implant-{seed:06d}/{name}" for seed in (3, 4) for name in names}
    before = open_nifti(ear / "ct.nii.gz")
    images = []
    for seed in (3, 4):
        folder = out / f"implant-{seed:06d}"
        after, metal = open_nifti(folder / "ct.nii.gz"), open_nifti(folder / "metal.nii.gz")
        for image in (after, metal):
            np.testing.assert_array_equal(image.affine, before.affine)
            assert image.shape == before.shape
        assert after.get_data_dtype() == np.int16
        images.append(np.asarray(after.dataobj))
        assert np.median(images[-1][np.asarray(metal.dataobj) > 0]) > 2500
        # Slices without metal are as they were.
        assert (images[-1] == np.asarray(before.dataobj)).mean() > 0.2
        record = json.loads((folder / "implant.json").read_text())
        assert (record["seed"], record["maker"], record["slice_axis"]) == (seed, "MED-EL", 2)
        assert 8 <= record["contacts_inserted"] <= len(record["contacts_ras"]) == 12
        assert Landmarks.parse((folder / "landmarks.json").read_text()).side == "right"
    assert (images[0] != images[1]).any()


def test_options_that_do_not_belong_together_are_refused(cochlear: Cochlear, tmp_path: Path) -> None:
    out = tmp_path / "ears"
    assert "--into" in cochlear.refuses("synthesize", "--out", out, "--maker", "cochlear")
    assert "landmarks" in cochlear.refuses("synthesize", "--out", out, "--into", tmp_path / "ct.nii.gz")
    into: list[str | Path] = ["--into", tmp_path / "ct.nii.gz", "--landmarks", tmp_path / "a.json", "--no-implant"]
    assert "implant" in cochlear.refuses("synthesize", "--out", out, *into)
    assert not out.exists()


def test_bad_input_leaves_nothing(cochlear: Cochlear, tmp_path: Path) -> None:
    out = tmp_path / "ears"
    assert "bundle" in cochlear.refuses("synthesize", "--out", out, "--bundle", "no-such-model")
    for usage in (["--bundle", "a", "--count", "0"], ["--bundle", "a", "--side", "up"]):
        assert cochlear("synthesize", "--out", out, *usage).code == 2
    assert not out.exists()
