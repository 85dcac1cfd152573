"""`cochlear evaluate` on folders, as a shell runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Cochlear
from studies import write_result, write_truth


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    results, truths = tmp_path / "results", tmp_path / "truths"
    write_truth(truths / "ear-1", implant=True)
    write_result(results / "network" / "ear-1", (0, 0.2, 0))
    write_result(results / "masks only" / "ear-1", (0, 0.6, 0), mesh=False)
    return results, truths


def test_folders_are_evaluated(cochlear: Cochlear, folders: tuple[Path, Path], tmp_path: Path) -> None:
    results, truths = folders
    out = tmp_path / "out"
    ran = cochlear("evaluate", results, truths, "--out", out, "--methods", "network, masks only", "--formats", "png")
    assert ran.code == 0, ran.err
    assert "with_metal" in ran.out
    document = json.loads((out / "summary.json").read_text())
    assert document["methods"] == ["network", "masks only"]
    assert all(test["way"].startswith("too few") for test in document["comparisons"])
    assert (out / "boxes-hausdorff95_mm.png").is_file()
    assert not list(out.glob("*.svg"))
    printed = cochlear("evaluate", results, truths, "--json")
    assert json.loads(printed.out)["rows"][0]["method"] == "masks only"


def test_missing_results_are_warned_of(cochlear: Cochlear, folders: tuple[Path, Path]) -> None:
    results, truths = folders
    write_truth(truths / "ear-2")
    write_result(results / "network" / "ear-2")
    ran = cochlear("evaluate", results, truths)
    assert ran.code == 0
    assert "warning: masks only: no result for case ear-2 (all)" in ran.err


def test_bad_input_gets_one_line(cochlear: Cochlear, folders: tuple[Path, Path], tmp_path: Path) -> None:
    results, truths = folders
    file = truths / "ear-1" / "labyrinth.nii.gz"
    assert "works with two folders" in cochlear.refuses("evaluate", file, file, "--out", tmp_path / "out")
    assert "picture format" in cochlear.refuses("evaluate", results, truths, "--formats", "bmp")
    assert "holds other files" in cochlear.refuses("evaluate", results, truths, "--out", truths / "ear-1")
    assert "--like is for files" in cochlear.refuses("evaluate", results, truths, "--like", file)
    groups = tmp_path / "groups.json"
    groups.write_text("[1]")
    assert "the groups cannot be used" in cochlear.refuses("evaluate", results, truths, "--groups", groups)
    assert "two files or two folders" in cochlear.refuses("evaluate", results, file)
