"""Studies: folders of results and truths, pictures and tables."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from segmentations import save_nifti, segmentation
from studies import rows_of, write_result, write_truth

from model.errors import InputError, MeshError, OptionError
from model.evaluation.markdown import Column, markdown_table
from model.evaluation.rows import Row
from model.evaluation.study import evaluate_rows, evaluate_study, write_study
from model.evaluation.truth_folder import TruthFolder
from model.masks.labels import label_map
from model.meshes.formats import write_mesh
from model.outputs.write import write_results


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    results, truths = tmp_path / "results", tmp_path / "truths"
    write_truth(truths / "ear-1", implant=True)
    write_truth(truths / "ear-2", implant=False)
    for method, shift in (("near", 0.25), ("far", 1.0)):
        for case in ("ear-1", "ear-2"):
            write_result(results / method / case, (0, shift, 0))
    return results, truths


def test_a_study_is_scored_by_method_group_and_case(folders: tuple[Path, Path]) -> None:
    study = evaluate_study(*folders, methods=["near", "far"])
    assert [(row.method, row.group, row.case) for row in study.rows] == [
        ("near", "with_metal", "ear-1"),
        ("far", "with_metal", "ear-1"),
        ("near", "without_metal", "ear-2"),
        ("far", "without_metal", "ear-2"),
    ]
    errors = [row.point_to_point_mm for row in study.rows]
    assert errors == pytest.approx([0.25, 1.0, 0.25, 1.0], abs=1e-5)
    assert study.missing == ()
    dice = [row.dice for row in study.rows]
    assert dice[0] is not None
    assert dice[1] is not None
    assert 0.95 > dice[0] > dice[1] > 0.5
    grouped = evaluate_study(*folders, groups={"ear-1": "a", "ear-2": "a"}, cases=["ear-2"])
    assert {(row.group, row.case) for row in grouped.rows} == {("a", "ear-2")}


def test_what_segment_writes_is_read_back(tmp_path: Path) -> None:
    ear = segmentation("right")
    write_results(ear, tmp_path / "results" / "m" / "ear", mesh_formats=["ply", "stl"])
    truth = tmp_path / "truths" / "ear" / "truth"
    truth.mkdir(parents=True)
    for name, mesh in ear.meshes_ras.items():
        write_mesh(mesh.with_vertices(mesh.vertices + np.array([0, 0, 0.5])), truth / f"{name}.vtk")
    save_nifti(tmp_path / "truths" / "ear" / "ct.nii.gz", ear.volume.data, ear.volume.affine)
    study = evaluate_study(tmp_path / "results", tmp_path / "truths")
    assert [row.structure for row in study.rows] == ["modiolus", "scala_tympani", "scala_vestibuli", "labyrinth"]
    for row in study.rows:
        assert row.group == "all"
        assert row.point_to_point_mm == pytest.approx(0.5, abs=1e-4)
        assert row.dice is not None
        assert 0.4 < row.dice < 0.95
        assert row.folds is not None


def test_what_is_missing_is_said_and_not_counted(folders: tuple[Path, Path]) -> None:
    results, truths = folders
    for path in (results / "far" / "ear-2").rglob("*"):
        if path.is_file():
            path.unlink()
    write_result(results / "near" / "ear-9")
    (results / "none" / "ear-1").mkdir(parents=True)
    write_truth(truths / "ear-3")
    study = evaluate_study(results, truths)
    assert {str(item) for item in study.missing} == {
        "far: no result for case ear-2 (without_metal)",
        "none: no result for case ear-1 (with_metal)",
        "none: no result for case ear-2 (without_metal)",
    }
    assert "method none: no results" in study.remarks
    assert "case ear-9: results but no truth" in study.remarks
    assert "case ear-3: no method has a result" in study.remarks
    assert not [item for item in study.summaries if (item.method, item.group) == ("far", "without_metal")]


def test_masks_alone_and_label_maps_are_enough(tmp_path: Path) -> None:
    ear = segmentation()
    masks = write_results(ear, tmp_path / "made", mesh_formats=["vtk"])
    truth = tmp_path / "truths" / "ear"
    (truth / "truth").mkdir(parents=True)
    save_nifti(truth / "labyrinth.nii.gz", masks["labyrinth"].astype(np.uint8), ear.volume.affine)
    save_nifti(truth / "truth" / "labels.nii.gz", label_map(masks), ear.volume.affine)
    result = tmp_path / "results" / "m" / "ear"
    result.mkdir(parents=True)
    (tmp_path / "made" / "masks").rename(result / "masks")
    rows = {row.structure: row for row in evaluate_study(tmp_path / "results", tmp_path / "truths").rows}
    assert rows["labyrinth"].dice == 1  # in full, not what the label map leaves of it
    assert rows["modiolus"].dice == 1
    assert rows["modiolus"].hausdorff95_mm == pytest.approx(0, abs=1e-6)
    assert rows["modiolus"].point_to_point_mm is None


def test_a_lost_affine_and_swapped_axes_are_refused(folders: tuple[Path, Path]) -> None:
    results, truths = folders
    path = results / "far" / "ear-1" / "masks" / "labyrinth.nii.gz"
    image = nibabel.load(path)
    data, affine = np.asarray(image.dataobj), image.affine  # type: ignore[attr-defined]
    save_nifti(path, data, np.eye(4))
    save_nifti(results / "near" / "ear-2" / "masks" / "labyrinth.nii.gz", data.transpose(1, 0, 2), affine)
    with pytest.raises(InputError) as caught:
        evaluate_study(results, truths)
    text = str(caught.value)
    assert "far, case ear-1: the mask of labyrinth lies on another grid than the truth (another affine)" in text
    assert "near, case ear-2" in text
    assert "shape" in text


def test_a_surface_in_the_wrong_space_is_pointed_out(folders: tuple[Path, Path]) -> None:
    results, truths = folders
    folder = results / "far" / "ear-1"
    (folder / "masks" / "labyrinth.nii.gz").unlink()
    mesh = folder / "meshes" / "labyrinth.vtk"
    mesh.write_bytes(mesh.read_bytes().replace(b"SPACE=RAS", b"SPACE=LPS"))
    study = evaluate_study(results, truths)
    assert [row.dice for row in study.rows if (row.method, row.case) == ("far", "ear-1")] == [0]
    assert study.remarks[0].startswith("far, with_metal, ear-1, labyrinth: nothing in common")


def test_bad_folders_get_one_clear_error(folders: tuple[Path, Path], tmp_path: Path) -> None:
    results, truths = folders
    with pytest.raises(InputError, match="folder of results is not there"):
        evaluate_study(tmp_path / "nothing", truths)
    with pytest.raises(InputError, match="no results in the folder"):
        evaluate_study(results / "near", truths)
    with pytest.raises(OptionError, match="no such method; expected one of far, near; found x"):
        evaluate_study(results, truths, methods=["x"])
    with pytest.raises(OptionError, match="no such case"):
        evaluate_study(results, truths, cases=["ear-7"])
    with pytest.raises(OptionError, match="compare with"):
        evaluate_study(results, truths, reference="x")
    with pytest.raises(InputError, match="ear-2 has no group"):
        evaluate_study(results, truths, groups={"ear-1": "a"})
    (results / "far" / "ear-1" / "meshes" / "labyrinth.vtk").write_text("no mesh")
    with pytest.raises(MeshError, match="far, case ear-1: "):
        evaluate_study(results, truths)
    (truths / "ear-1" / "ear.json").write_text("no json")
    with pytest.raises(InputError, match="truth of case ear-1: the record"):
        evaluate_study(results, truths)


def test_a_soft_mask_is_refused(folders: tuple[Path, Path]) -> None:
    _, truths = folders
    path = truths / "ear-1" / "labyrinth.nii.gz"
    image = nibabel.load(path)
    soft = np.asarray(image.dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    soft[0, 0, 0] = 0.3
    save_nifti(path, soft, image.affine)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="more than inside and outside"):
        TruthFolder(truths / "ear-1").read()


def study_rows() -> list[Row]:
    random = np.random.default_rng(0)
    return [
        Row(method, group, f"c{case}", structure, dice=float(random.normal(middle, 0.02)))
        for group in ("with_metal", "without_metal")
        for method, middle in (("rigid", 0.7), ("network", 0.9))
        for structure in ("scala_tympani", "labyrinth")
        for case in range(8)
    ]


def test_a_study_is_written_completely_and_always_alike(tmp_path: Path) -> None:
    study = evaluate_rows(study_rows())
    for name in ("one", "two"):
        write_study(study, tmp_path / name, ["png", "svg"])
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["boxes-dice.png", "boxes-dice.svg", "scores.csv", "summary.json", "table.md"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert len((tmp_path / "one" / "scores.csv").read_text().splitlines()) == 1 + len(study.rows)
    document = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert [Row.from_json(row) for row in document["rows"]] == list(study.rows)
    assert len(document["comparisons"]) == 4
    assert all(test["p_holm"] >= test["p"] for test in document["comparisons"])
    svg = (tmp_path / "one" / "boxes-dice.svg").read_text()
    assert "<svg" in svg
    with pytest.raises(OptionError, match="picture format"):
        write_study(study, tmp_path / "three", ["gif"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(OptionError, match="holds other files"):
        write_study(study, tmp_path / "other")


def test_pictures_show_the_values(tmp_path: Path) -> None:
    rows = [
        Row("a", "all", f"c{case}", "labyrinth", point_to_point_mm=value, points_below=(0.0,) * 20 + (1.0,) * 41)
        for case, value in enumerate((0.9, 0.95, 1.0, 1.05, 1.1, 1.15))
    ]
    low = [Row("b", "all", row.case, "labyrinth", point_to_point_mm=0.1) for row in rows]
    write_study(evaluate_rows([*rows, *low]), tmp_path / "study", ["png"])
    picture = np.asarray(Image.open(tmp_path / "study" / "boxes-point_to_point_mm.png").convert("RGB")).astype(int)
    blue, orange = np.array([0x00, 0x72, 0xB2]), np.array([0xD5, 0x5E, 0x00])
    where = [np.argwhere(np.abs(picture - colour).sum(axis=2) < 90).mean(axis=0) for colour in (blue, orange)]
    assert where[0][1] > where[1][1] + 100  # larger errors lie to the right
    assert where[0][0] < where[1][0]  # and the first method on top
    assert (tmp_path / "study" / "curves-points-point_to_point_mm.png").is_file()


def test_a_table_says_how_many_cases_and_what_is_unknown() -> None:
    rows = [
        *rows_of("rigid", {"a": 0.7, "b": 0.8}, group="real"),
        *rows_of("network", {"a": 0.95, "b": None}, group="real"),
        *rows_of("network", {"c": 0.9}, group="synthetic"),
    ]
    columns = [
        Column("dice", "real", "labyrinth", "mean", heading="Dice, real", decimals=2),
        Column("dice", "synthetic", "labyrinth", "minimum"),
    ]
    table = markdown_table(evaluate_rows(rows).summaries, columns)
    assert table.splitlines() == [
        "| method | Dice, real, n=2 | synthetic: Bony labyrinth, n=1 |",
        "|---|---:|---:|",
        "| rigid | 0.75 | - |",
        "| network | 0.95 (n=1) | 0.900 |",
    ]
    many = rows_of("m", {f"c{number}": number / 10 for number in range(8)})
    cell = markdown_table(
        evaluate_rows(many).summaries, [Column("dice", "all", "labyrinth", interval=True, decimals=2)]
    )
    assert "| m | 0.35 [0." in cell
