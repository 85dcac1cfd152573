"""`cochlear segment`: what it writes, and how it refuses."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from cli_runs import Cochlear
from ear_fixtures import mean_error_mm, read_truth
from segmentations import open_nifti

from model.bundle import Bundle
from model.geometry.landmarks import Side
from model.geometry.spaces import RAS_LPS
from model.meshes.formats import read_mesh
from model.structures import STRUCTURE_IDS

RESULT_FILES = {
    *(f"meshes/{name}.{fmt}" for name in STRUCTURE_IDS for fmt in ("vtk", "stl")),
    *(f"masks/{name}.nii.gz" for name in STRUCTURE_IDS),
    "masks/labels.nii.gz",
    "masks/segmentation.seg.nrrd",
    "displacement.nii.gz",
    "report.json",
    "preview.png",
    "manifest.json",
    "archive.zip",
    "meshes.npz",
}

Data = npt.NDArray[Any]
Change = Callable[[Data, npt.NDArray[np.float64]], tuple[Data, npt.NDArray[np.float64]]]
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
DIM, SFORM_CODE, SROW = 40, 254, 280


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(synthetic_ears: dict[Side, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a coarser image of the left ear, `ct.nii`, and its landmarks."""
    folder = tmp_path_factory.mktemp("small")
    image = open_nifti(synthetic_ears["left"] / "ct.nii.gz")
    data = np.asarray(image.dataobj)[::2, ::2, ::2].astype(np.int16)
    coarse = nibabel.Nifti1Image(data, image.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    coarse.to_filename(folder / "ct.nii")
    shutil.copy(synthetic_ears["left"] / "landmarks.json", folder)
    return folder


def changed(small: Path, change: Change) -> bytes:
    """Give the image with its array or affine changed."""
    image = open_nifti(small / "ct.nii")
    data, affine = change(np.asarray(image.dataobj), np.array(image.affine))
    return bytes(nibabel.Nifti1Image(data, affine).to_bytes())


def with_header(small: Path, offset: int, form: str, *values: float) -> bytes:
    """Give the image with header fields overwritten."""
    raw = bytearray((small / "ct.nii").read_bytes())
    struct.pack_into("<h", raw, SFORM_CODE, 1)
    struct.pack_into("<h", raw, SFORM_CODE - 2, 0)
    struct.pack_into(form, raw, offset, *values)
    return bytes(raw)


def with_one(data: Data, value: float) -> Data:
    copy = data.astype(np.float32)
    copy[3, 4, 5] = value
    return copy


IMAGES: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "empty": ("nii", lambda small: b""),
    "empty-gzip": ("nii.gz", lambda small: b""),
    "text": ("nii", lambda small: b"this is no image, but a text of some length\n" * 20),
    "gzipped-text": ("nii.gz", lambda small: gzip.compress(b"this is no image either\n" * 100)),
    "truncated": ("nii", lambda small: (small / "ct.nii").read_bytes()[:20_000]),
    "truncated-gzip": ("nii.gz", lambda small: gzip.compress((small / "ct.nii").read_bytes(), 1)[:20_000]),
    "bomb": ("nii.gz", lambda small: gzip.compress(with_header(small, DIM, "<4h", 3, 2000, 2000, 2000), 1)),
    "absurd-dimensions": ("nii", lambda small: with_header(small, DIM, "<4h", 3, 32767, 32767, 32767)),
    "negative-dimension": ("nii", lambda small: with_header(small, DIM, "<4h", 3, -64, 64, 64)),
    "two-dimensions": ("nii", lambda small: changed(small, lambda data, affine: (data[:, :, 0], affine))),
    "four-dimensions": ("nii", lambda small: changed(small, lambda data, affine: (np.stack([data] * 2, -1), affine))),
    "constant": ("nii", lambda small: changed(small, lambda data, affine: (np.full_like(data, 7), affine))),
    "nan": ("nii", lambda small: changed(small, lambda data, affine: (with_one(data, np.nan), affine))),
    "infinity": ("nii", lambda small: changed(small, lambda data, affine: (with_one(data, np.inf), affine))),
    "complex": ("nii", lambda small: changed(small, lambda data, affine: (data.astype(np.complex64), affine))),
    "rgb": ("nii", lambda small: changed(small, lambda data, affine: (np.zeros(data.shape, RGB), affine))),
    "singular-affine": ("nii", lambda small: with_header(small, SROW, "<12f", 1, 2, 3, 0, 2, 4, 6, 0, 0, 0, 1, 0)),
    "coarse": ("nii", lambda small: changed(small, lambda data, affine: (data, affine @ np.diag([12.5] * 3 + [1])))),
}


def keep_two(document: dict[str, Any]) -> None:
    document["landmarks"] = {name: document["landmarks"][name] for name in ("RW", "C")}


def move_outside(document: dict[str, Any]) -> None:
    document["landmarks"]["A"][0] += 500.0


def make_collinear(document: dict[str, Any]) -> None:
    first = document["landmarks"]["C"]
    document["landmarks"] = {name: [first[0] + step, *first[1:]] for step, name in enumerate(("RW", "C", "A"))}


def claim_other_side(document: dict[str, Any]) -> None:
    document["side"] = "right"


def add_unknown(document: dict[str, Any]) -> None:
    document["ear"] = "left"


LANDMARKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "two": keep_two,
    "outside": move_outside,
    "collinear": make_collinear,
    "wrong-side": claim_other_side,
    "unknown-key": add_unknown,
}


def test_one_command_writes_every_file(
    cochlear: Cochlear, synthetic_ears: dict[Side, Path], quick_bundle_path: Path, tmp_path: Path
) -> None:
    folder, out = synthetic_ears["right"], tmp_path / "new" / "result"
    landmarks = folder / "landmarks.json"
    ran = cochlear(
        "segment", folder / "ct.nii.gz", "--out", out, "--landmarks", landmarks, "--bundle", quick_bundle_path
    )
    assert ran.code == 0, ran.err
    assert "\x1b[" not in ran.err  # no progress bar where nobody looks
    assert files_of(out) == RESULT_FILES
    assert [path.name for path in out.parent.iterdir()] == ["result"]
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["name"] == quick_bundle_path.name
    assert str(tmp_path) not in (out / "report.json").read_text()
    truth = read_truth(folder)
    for name in STRUCTURE_IDS:
        mesh = read_mesh(out / "meshes" / f"{name}.vtk")
        assert mesh.space == "lps"
        assert mean_error_mm(mesh.transformed(RAS_LPS, "ras"), truth[name]) < 0.6
    mask = open_nifti(out / "masks" / "labyrinth.nii.gz")
    image = open_nifti(folder / "ct.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    label = np.asarray(open_nifti(folder / "labyrinth.nii.gz").dataobj) > 0
    found = np.asarray(mask.dataobj) > 0
    assert 2 * np.count_nonzero(found & label) / (np.count_nonzero(found) + np.count_nonzero(label)) > 0.75


def test_formats_and_the_rigid_baseline(
    cochlear: Cochlear, small: Path, quick_bundle_path: Path, tmp_path: Path
) -> None:
    arguments: list[str | Path] = [
        "segment",
        small / "ct.nii",
        "--landmarks",
        small / "landmarks.json",
        "--bundle",
        quick_bundle_path,
    ]
    ran = cochlear(*arguments, "--out", tmp_path / "out", "--formats", "ply, obj", "--rigid", "--device", "cpu")
    assert ran.code == 0, ran.err
    assert {path.suffix for path in (tmp_path / "out" / "meshes").iterdir()} == {".ply", ".obj"}
    timings = json.loads((tmp_path / "out" / "report.json").read_text())["timings_s"]
    assert "register" not in timings


@pytest.mark.parametrize("kind", sorted(IMAGES))
def test_an_image_that_cannot_be_used_is_refused(cochlear: Cochlear, small: Path, kind: str, tmp_path: Path) -> None:
    suffix, make = IMAGES[kind]
    image, out = tmp_path / f"ear.{suffix}", tmp_path / "out"
    image.write_bytes(make(small))
    line = cochlear.refuses("segment", image, "--out", out, "--landmarks", small / "landmarks.json")
    assert str(tmp_path) not in line
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == [image.name]


def test_a_file_too_large_is_refused_unread(cochlear: Cochlear, small: Path, tmp_path: Path) -> None:
    image = tmp_path / "ear.nii"
    shutil.copy(small / "ct.nii", image)
    with image.open("r+b") as file:
        file.truncate(600 * 2**20)  # a hole, which takes no room
    assert "large" in cochlear.refuses(
        "segment", image, "--out", tmp_path / "out", "--landmarks", small / "landmarks.json"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", sorted(LANDMARKS))
def test_landmarks_that_cannot_be_used_are_refused(cochlear: Cochlear, small: Path, kind: str, tmp_path: Path) -> None:
    document = json.loads((small / "landmarks.json").read_text())
    LANDMARKS[kind](document)
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps(document))
    cochlear.refuses("segment", small / "ct.nii", "--out", tmp_path / "out", "--landmarks", path)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_or_unknown_is_named(cochlear: Cochlear, small: Path, tmp_path: Path) -> None:
    image, landmarks, out = small / "ct.nii", small / "landmarks.json", tmp_path / "out"
    assert "landmarks" in cochlear.refuses("segment", image, "--out", out)
    assert "landmarks" in cochlear.refuses("segment", image, "--out", out, "--landmarks", tmp_path / "none.json")
    arguments: list[str | Path] = ["--out", out, "--landmarks", landmarks]
    cochlear.refuses("segment", tmp_path / "none.nii", *arguments)
    cochlear.refuses("segment", tmp_path, *arguments)
    assert "side" in cochlear.refuses("segment", image, *arguments, "--side", "right")
    assert "bundle" in cochlear.refuses("segment", image, *arguments, "--bundle", "no-such-model")
    cochlear.refuses("segment", image, *arguments, "--formats", "vtk,xyz")
    assert "device" in cochlear.refuses("segment", image, *arguments, "--device", "gpu")
    cochlear.refuses("segment", image, *arguments, "--device", "cuda:99", code=1)
    for usage in (
        ["--out", out],
        [image],
        [image, "--out", out, "--unknown", "1"],
        [image, *arguments, "--side", "up"],
    ):
        ran = cochlear("segment", *usage)
        assert ran.code == 2
        assert "Traceback" not in ran.err
    assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(
    cochlear: Cochlear, small: Path, quick_bundle_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    arguments: list[str | Path] = ["--landmarks", small / "landmarks.json", "--bundle", quick_bundle_path, "--rigid"]
    assert "folder" in cochlear.refuses("segment", small / "ct.nii", "--out", tmp_path, *arguments)
    assert files_of(tmp_path) == {"notes.txt"}


@pytest.mark.parametrize("file", ["weights.safetensors", "atlas.npz", "atlas_image.npz", "bundle.json"])
def test_a_damaged_or_incomplete_bundle_is_refused(
    cochlear: Cochlear, small: Path, shipped_bundle: Bundle, file: str, tmp_path: Path
) -> None:
    bundle = tmp_path / shipped_bundle.name
    shutil.copytree(shipped_bundle.path, bundle)
    arguments: list[str | Path] = [
        "segment",
        small / "ct.nii",
        "--landmarks",
        small / "landmarks.json",
        "--bundle",
        bundle,
    ]
    content = bytearray((bundle / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (bundle / file).write_bytes(content)
    assert file in cochlear.refuses(*arguments, "--out", tmp_path / "out")
    (bundle / file).unlink()
    line = cochlear.refuses(*arguments, "--out", tmp_path / "out")
    assert file in line or file == "bundle.json"
    assert not (tmp_path / "out").exists()


def test_a_process_of_its_own_says_the_same(small: Path, tmp_path: Path) -> None:
    (tmp_path / "ear.nii.gz").write_bytes(b"")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "model.cli",
        "segment",
        tmp_path / "ear.nii.gz",
        "--out",
        tmp_path / "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[3])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
