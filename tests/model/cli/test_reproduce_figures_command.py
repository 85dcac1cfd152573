"""`cochlear reproduce-figures`, as a shell runs it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Cochlear
from PIL import Image
from published_results import CASES, SHAPE, surface, write_atlas, write_ball, write_mask, write_published

from model.evaluation.rows import Row
from model.release.figures.layout import find_published
from model.release.figures.panel_case import PUBLISHED_CASE, panel_cases
from model.structures import LABYRINTH, MODIOLUS, SCALA_TYMPANI

_TWO = (SCALA_TYMPANI, LABYRINTH)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six cases of three methods: one complete, one with masks and other vertices, one with gaps."""
    folder = tmp_path / "data"
    cases = CASES[:6]
    shifts = np.random.default_rng(3).normal(0, 0.4, (6, 3))
    write_published(folder, {"chamfer": shifts, "cgan": 2 * shifts}, cases, _TWO)
    for case in cases:
        for structure in _TWO:
            write_ball(folder, "nnunet", structure, case, (0.2, 0, 0), level=2)
        (folder / "mesh/cgan/CC" / f"{case}.mesh").unlink()
        (folder / "mask/cgan/CC" / f"{case}.nii.gz").unlink()
    (folder / "mask/cgan/ST/case4.nii.gz").unlink()
    write_atlas(folder / "atlas", (0, 3, 4))
    return folder


def test_everything_is_written_and_what_is_missing_named(cochlear: Cochlear, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = cochlear("reproduce-figures", "--data", data, "--out", out)
    assert ran.code == 0, ran.err
    assert "Medians over cases" in ran.out
    text = ran.err.replace("\n", " ")
    assert "nnunet: no median point-to-point error of ST, CC for 6 cases" in text
    assert "instead of 18" in text
    assert "`cochlear register-mesh`" in text
    assert "cgan: no Dice of CC for 6 cases (case0, case1, case2 and 3 more): neither mask nor mesh" in text
    assert "cgan: no Dice of ST for 1 case (case4): no mask" in text
    missing = list(csv.DictReader((out / "missing.csv").read_text().splitlines()))
    assert len(missing) == 2 * 6 + 2 * 6 + 1
    medians = list(csv.DictReader((out / "medians.csv").read_text().splitlines()))
    found = {(line["measure"], line["method"], line["structure"]): line for line in medians}
    assert ("dice", "cgan", "labyrinth") not in found
    line = found["dice", "cgan", "scala_tympani"]
    assert (line["cases"], line["missing"]) == ("5", "1")
    line = found["point_to_point_median_mm", "no deformation", "labyrinth"]
    assert float(line["median"]) == pytest.approx(0.2 * 5, rel=1e-4)
    names = ["boxes-dice", "boxes-point_to_point_median_mm", "curves-vertices", "curves-cases"]
    shown = json.loads((out / "summary.json").read_text())["mesh_panels"]
    names += [f"{kind}-{case}" for kind in ("surfaces", "errors") for case in shown]
    expected = {f"{name}.{fmt}" for name in names for fmt in ("png", "svg", "pdf")}
    assert {path.name for path in (out / "pictures").iterdir()} == expected
    for path in (out / "pictures").glob("*.png"):
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5, path.name
    for path in (out / "pictures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
    assert re.search(
        r"\| Chamfer \| Dice \| Scala tympani \| 0\.84 \| 0\.\d{3} \| 6 \|", (out / "report.md").read_text()
    )


def test_one_case_gets_no_tests(cochlear: Cochlear, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--cases", "case4", "--methods", "cgan,nnunet", "--formats", "png", "--panel-cases", "case4")
    ran = cochlear("reproduce-figures", "--data", data, "--out", out, *options)
    assert ran.code == 0, ran.err
    assert "warning: one case only: no intervals and no tests, which take at least 6" in ran.err
    assert all(not line["p"] for line in csv.DictReader((out / "tests.csv").read_text().splitlines()))
    assert json.loads((out / "summary.json").read_text())["methods"] == ["cgan", "nnunet", "no deformation"]
    assert (out / "pictures" / "errors-case4.png").is_file()


def test_bad_folders_get_one_line(cochlear: Cochlear, data: Path, tmp_path: Path) -> None:
    def refused(*options: str | Path, folder: Path = data) -> str:
        return cochlear.refuses("reproduce-figures", "--data", folder, "--out", tmp_path / "out", *options)

    assert "data folder is not there" in refused(folder=tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "nothing to evaluate in the data folder; expected mesh/<method>" in refused(folder=tmp_path / "empty")
    write_ball(tmp_path / "truthless", "chamfer", MODIOLUS, "a")
    assert "no truth in the data folder; expected mesh/gt or mask/gt" in refused(folder=tmp_path / "truthless")
    write_ball(tmp_path / "alone", "gt", MODIOLUS, "a")
    assert "nothing to compare with the truth" in refused(folder=tmp_path / "alone")
    write_ball(tmp_path / "apart", "gt", MODIOLUS, "a")
    write_ball(tmp_path / "apart", "chamfer", MODIOLUS, "b")
    assert "nothing can be measured" in refused(folder=tmp_path / "apart")
    assert "no such method; expected some of chamfer, cgan, nnunet" in refused("--methods", "chamfer,elastic")
    assert "no such case with a truth" in refused("--cases", "case9")
    assert "no such method to compare with" in refused("--reference", "p2p")
    assert "no such case to show" in refused("--panel-cases", "case9")
    assert "unknown picture format" in refused("--formats", "bmp")
    assert "voxel size" in refused("--spacing", "0")
    assert "no such atlas" in refused("--atlas", tmp_path / "nowhere")
    np.save(tmp_path / "short.npy", np.ones(5))
    assert "meshes of the modiolus in mesh/gt/MD" in refused("--frequency-map", tmp_path / "short.npy")
    write_ball(tmp_path / "apart", "chamfer", MODIOLUS, "a")
    line = refused("--frequency-map", tmp_path / "short.npy", folder=tmp_path / "apart")
    assert "expected 18 values, one per vertex; found 5" in line
    assert not (tmp_path / "out").exists()


def test_bad_files_are_named_before_anything_is_measured(cochlear: Cochlear, data: Path, tmp_path: Path) -> None:
    def refused() -> str:
        return cochlear.refuses("reproduce-figures", "--data", data, "--out", tmp_path / "out")

    write_mask(data, "chamfer", LABYRINTH, "case1", np.ones((20, 18, 17), dtype=np.bool_))
    line = refused()
    assert "another grid than the truth; found mask of chamfer, CC, case1: 20 x 18 x 17 instead of 20 x 18 x 16" in line
    write_mask(data, "chamfer", LABYRINTH, "case1", np.ones(SHAPE, dtype=np.bool_), np.eye(4))
    assert "--ignore-affines" in refused()
    mesh = data / "mesh/nnunet/CC/case2.mesh"
    mesh.write_bytes(mesh.read_bytes()[:-4])
    (data / "mask/gt/ST/case3.nii.gz").write_bytes(b"no image")
    line = refused()
    assert "mesh of nnunet, CC, case2" in line
    assert "mask of gt, ST, case3" in line


def test_folders_are_found_in_the_order_of_the_published_tables(data: Path) -> None:
    write_ball(data, "ablation", SCALA_TYMPANI, "case0", mask=False)
    write_ball(data, "p2p", SCALA_TYMPANI, "stranger", mask=False)
    (data / "mesh" / "notes.txt").write_text("")
    found = find_published(data)
    assert found.methods == ("chamfer", "p2p", "cgan", "nnunet", "ablation")
    assert found.cases == CASES[:6]
    assert found.remarks == ("p2p: 1 case (stranger) without a truth",)


def test_panels_show_the_published_case_or_the_middle_one() -> None:
    rows = [
        Row("chamfer", "all", case, "modiolus", point_to_point_median_mm=error)
        for case, error in {"a": 0.4, "b": 0.1, "c": 0.3, "d": 0.2}.items()
    ]
    assert panel_cases(rows, "chamfer", None) == ("d",)
    assert panel_cases(rows, "chamfer", ["c", "a", "c"]) == ("c", "a")
    assert panel_cases([*rows, Row("chamfer", "all", PUBLISHED_CASE, "modiolus")], "chamfer", None) == (PUBLISHED_CASE,)
    assert len(surface(MODIOLUS).vertices) == 18
