"""`cochlear synthesize`: ears in the layout of real ones, from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from cli_runs import Cochlear
from segmentations import open_nifti

from model.bundle import Bundle
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


def test_bad_input_leaves_nothing(cochlear: Cochlear, tmp_path: Path) -> None:
    out = tmp_path / "ears"
    assert "bundle" in cochlear.refuses("synthesize", "--out", out, "--bundle", "no-such-model")
    for usage in (["--bundle", "a", "--count", "0"], ["--bundle", "a", "--side", "up"], []):
        assert cochlear("synthesize", "--out", out, *usage).code == 2
    assert not out.exists()
