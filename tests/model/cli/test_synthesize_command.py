"""`cochlear synthesize`: ears in the layout of real ones, from a seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Cochlear
from ear_fixtures import read_truth
from segmentations import open_nifti

from model.atlas.build import Atlas
from model.atlas.labelled_ears import read_labelled_ear
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


@pytest.fixture(scope="module")
def atlas_folder(
    shipped_bundle: Bundle, synthetic_ears: dict[Side, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The shipped atlas as if it had been built of one ear, with a mode that moves everything along j."""
    ear = read_labelled_ear(synthetic_ears["left"], shipped_bundle.frame, fill_hu=-1024.0)
    truth = read_truth(synthetic_ears["left"])
    placed = [mesh.transformed(ear.alignment.ras_to_canonical, "ijk").vertices for mesh in truth.values()]
    modes = np.zeros((1, 3, 24, 24, 24), dtype=np.float32)
    modes[:, 1] = 8.0
    image = (shipped_bundle.atlas_image() + 1) * 1800 - 1000
    vertices = {ear.name: np.concatenate(placed).astype(np.float32)}
    folder = tmp_path_factory.mktemp("atlas")
    Atlas(dict(shipped_bundle.atlas_meshes_ijk), image, modes, vertices).save(folder)
    (folder / "frame.json").write_text(json.dumps(shipped_bundle.frame.to_json()))
    return folder


def test_shape_modes_of_an_atlas_are_drawn(cochlear: Cochlear, atlas_folder: Path, tmp_path: Path) -> None:
    atlas = Atlas.load(atlas_folder)
    still = tmp_path / "still"
    replace(atlas, modes=np.zeros_like(atlas.modes)).save(still)
    (still / "frame.json").write_text((atlas_folder / "frame.json").read_text())
    made = []
    for folder in (still, atlas_folder):
        out = tmp_path / f"ears-of-{folder.name}"
        ran = cochlear("synthesize", "--out", out, "--atlas", folder, "--no-implant", "--side", "left")
        assert ran.code == 0, ran.err
        record = json.loads((out / "ear-000000" / "ear.json").read_text())
        to_ijk = np.linalg.inv(np.array(record["canonical_to_ras"]))
        made.append(read_truth(out / "ear-000000")["labyrinth"].transformed(to_ijk, "ijk").vertices)
    # All else is drawn alike: the mode moves every vertex the same way, along j but for the turn of the ear.
    moved = made[1] - made[0]
    assert np.ptp(moved, axis=0).max() < 0.1
    assert np.abs(moved[:, 1]).min() > 0.5
    assert np.abs(moved[:, [0, 2]]).max() < 0.4 * np.abs(moved[:, 1]).min()


def test_real_ears_are_backgrounds(
    cochlear: Cochlear, synthetic_ears: dict[Side, Path], atlas_folder: Path, tmp_path: Path
) -> None:
    options: tuple[str | Path, ...] = ("--atlas", atlas_folder, "--out", tmp_path / "out", "--implant")
    ran = cochlear("synthesize", *options, "--ears", synthetic_ears["left"].parent, "--side", "right")
    assert ran.code == 0, ran.err
    folder = tmp_path / "out" / "ear-000000"
    record = json.loads((folder / "ear.json").read_text())
    assert (record["background"], record["side"]) == ("left", "right")
    assert record["implant"]["maker"]
    image, labels = (np.asarray(open_nifti(folder / name).dataobj) for name in ("ct.nii.gz", "truth/labels.nii.gz"))
    # Fluid in the labyrinth and bone around it, though the ear was bent, turned and mirrored.
    assert np.median(image[labels == 4]) < 400
    shell = (np.roll(labels, 4, axis=2) == 4) & (labels == 0)
    assert np.median(image[shell]) > 1000
    # Its own landmarks went along: aligned by them, the ear lies near the frame's.
    placed = Landmarks.parse((folder / "landmarks.json").read_text()).points_ras
    truth = read_truth(folder)["labyrinth"].vertices
    assert np.linalg.norm(np.mean(list(placed.values()), axis=0) - truth.mean(0)) < 8
    missing = ("--out", tmp_path / "o", "--atlas", atlas_folder, "--ears", tmp_path)
    assert "expected left" in cochlear.refuses("synthesize", *missing)
    assert "--atlas" in cochlear.refuses("synthesize", "--out", tmp_path / "o", "--ears", tmp_path)
    assert "atlas" in cochlear.refuses("synthesize", "--out", tmp_path / "o", "--atlas", tmp_path)
    assert not (tmp_path / "o").exists()


def test_ears_are_replaced_only_when_asked_for(cochlear: Cochlear, shipped_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "ear-000001").mkdir()
    (tmp_path / "ear-000001" / "ct.nii.gz").write_bytes(b"mine")
    arguments: list[str | Path] = ["--bundle", shipped_bundle.path, "--out", tmp_path, "--no-implant"]
    assert "ear-000001" in cochlear.refuses("synthesize", *arguments, "--count", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["ear-000001"]
    assert (tmp_path / "ear-000001" / "ct.nii.gz").read_bytes() == b"mine"
    assert cochlear("synthesize", *arguments, "--seed", "1", "--force").code == 0
    assert open_nifti(tmp_path / "ear-000001" / "ct.nii.gz").shape == (128, 128, 128)


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
