"""A whole study on a folder of ears as labelled ears come, and going on where it stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from model.errors import OptionError
from model.geometry.landmarks import Side
from model.study.command import study
from model.study.run import Runner, StudyPlan
from model.study.sets import SETS, SYNTHETIC, SetOptions, plan_sets

MADE = tuple(name for name in SETS if name != SYNTHETIC)
"""Sets made here: each synthetic ear takes seconds, and as a prepared crop it is the harder one."""


@pytest.fixture(scope="module")
def ears(synthetic_ears: dict[Side, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ears with the files that labelled ears have, the right one for validation."""
    folder = tmp_path_factory.mktemp("labelled")
    for side, ear in synthetic_ears.items():
        (folder / side).mkdir()
        for name in ("ct.nii.gz", "labyrinth.nii.gz", "landmarks.json"):
            shutil.copyfile(ear / name, folder / side / name)
    (folder / "split.json").write_text(json.dumps({"train": ["left"], "validation": ["right"]}))
    return folder


def test_ears_are_made_and_scored_once(ears: Path, quick_bundle_path: Path, tmp_path: Path) -> None:
    plan = StudyPlan(str(quick_bundle_path), ("rigid", f"{quick_bundle_path}:network"), tmp_path, "cpu")
    recipes = plan_sets(MADE, ears, SetOptions(arrays=1, synthetic=1, draws=1))
    runner = Runner(plan)
    scores = [score for recipe in recipes for score in runner.run(recipe)]
    rows = {(row.group, row.method, row.structure): row for score in scores for row in score.rows}
    assert [score.rows[0].group for score in scores[::2]] == list(MADE)
    assert len(rows) == 2 * (3 * 1 + 4)
    for (group, _, _), row in rows.items():
        assert row.dice is not None
        assert 0 <= row.dice < 1
        assert (row.point_to_point_mm is not None) == group.startswith("synthetic")
    for group in MADE:
        placed, moved = (rows[group, method.name, "labyrinth"].dice or 0 for method in runner.methods)
        assert moved > placed, f"{group}: the network improves on placing"
    metal = _voxels(next(tmp_path.glob("ears/*/validation_array/*/ct.nii.gz")))
    plain = _voxels(ears / "right" / "ct.nii.gz")
    assert metal.shape == plain.shape
    assert np.count_nonzero(metal >= 3000) > np.count_nonzero(plain >= 3000) + 50
    assert metal.max() <= 3071

    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    lost = sorted((tmp_path / "scores").iterdir())[0]
    lost.unlink()
    again = [score.rows for recipe in recipes for score in runner.run(recipe)]
    assert again == [score.rows for score in scores]
    changed = [path for path, time in kept.items() if path.stat().st_mtime_ns != time]
    assert changed == [lost], "only what was missing is computed again"


def test_the_command_writes_the_table(ears: Path, quick_bundle_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    study(ears, out, str(quick_bundle_path), "none,rigid", "validation", reference="rigid", processes=1, device="cpu")
    table = (out / "table.md").read_text()
    assert "| none | 0." in table
    assert "| rigid | 0." in table
    assert set(json.loads((out / "seconds.json").read_text())) == {"none", "rigid"}
    assert (out / "report" / "scores.csv").read_text().count("labyrinth") == 2
    with pytest.raises(OptionError, match="compare with"):
        study(ears, out, str(quick_bundle_path), "none,rigid", "validation", reference="elastix")


def _voxels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
