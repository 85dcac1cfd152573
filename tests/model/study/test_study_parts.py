"""The parts of a study: disturbed landmarks, kept scores, the short table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import InputError, OptionError
from model.evaluation.rows import Row
from model.evaluation.study import evaluate_rows
from model.geometry.landmarks import Landmarks
from model.study.disturb import disturbed
from model.study.results import CaseScore, ResultStore, median_seconds
from model.study.sets import SetOptions, plan_sets
from model.study.table import readme_table

LANDMARKS = Landmarks({"RW": (1.0, 2.0, 3.0), "C": (4.0, -5.0, 6.0), "A": (-7.0, 8.0, 9.0)}, "right")


def test_disturbed_landmarks_are_off_by_the_stated_distance() -> None:
    rng = np.random.default_rng(0)
    original = np.array(list(LANDMARKS.points_ras.values()))
    moves = []
    for _ in range(2000):
        moved = disturbed(LANDMARKS, 0.5, rng)
        assert moved.side == "right"
        assert list(moved.points_ras) == ["RW", "C", "A"]
        moves.append(np.array(list(moved.points_ras.values())) - original)
    squares = np.mean(np.square(moves), axis=0)
    assert np.sqrt(squares.sum(axis=1)) == pytest.approx([0.5] * 3, abs=0.02), "rms length of each landmark"
    assert np.sqrt(squares) == pytest.approx(np.full((3, 3), 0.289), abs=0.02), "along each axis"
    assert np.abs(np.mean(moves, axis=0)).max() < 0.03


def test_a_score_is_found_again_by_what_it_was_computed_from(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "scores")
    row = Row("rigid", "validation", "T06", "labyrinth", dice=0.75, points_below=(0.1, 1.0))
    assert store.read("m", "c", "rigid", "validation", "T06") is None
    store.write("m", "c", CaseScore((row,), 1.5))
    assert store.read("m", "c", "rigid", "validation", "T06") == CaseScore((row,), 1.5)
    renamed = store.read("m", "c", "another name", "validation", "T06")
    assert renamed is not None
    assert renamed.rows[0].method == "another name"
    assert renamed.rows[0].dice == 0.75
    assert store.read("m2", "c", "rigid", "validation", "T06") is None
    assert store.read("m", "c2", "rigid", "validation", "T06") is None
    (kept,) = (tmp_path / "scores").iterdir()
    kept.write_text(kept.read_text()[:-20])
    with pytest.raises(InputError, match="kept score"):
        store.read("m", "c", "rigid", "validation", "T06")


def test_the_table_shows_means_and_extremes_of_the_sets_that_are_there() -> None:
    rows = [
        Row(method, "validation", f"ear{number}", "labyrinth", dice=dice - loss, hausdorff95_mm=0.2 + number / 10)
        for method, loss in (("rigid", 0.2), ("network", 0.0))
        for number, dice in enumerate((0.91, 0.92, 0.96))
    ]
    seconds = median_seconds([CaseScore((row,), 1.0 + number) for number, row in enumerate(rows)])
    table = readme_table(evaluate_rows(rows).summaries, seconds)
    assert "| rigid | 0.730 | 0.710 | 0.40 |\n| network | 0.930 | 0.910 | 0.40 |" in table
    assert table.endswith("s: rigid 2.0, network 5.0.\n")
    assert "disturbed" not in table.partition("\n\n")[2]


def test_an_unknown_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="validation_array"):
        plan_sets(["validation", "training"], tmp_path, SetOptions())
    with pytest.raises(InputError, match="split"):
        plan_sets(["validation"], tmp_path, SetOptions())
