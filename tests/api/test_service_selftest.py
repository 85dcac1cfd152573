"""The self-test passes on the shipped model, and fails on each fault it is there to find."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import typer
from access_fixtures import make_key
from service_fixtures import Service, as_json
from typer.testing import CliRunner

from api.access.caller import Scope
from api.selftest.checks import (
    Check,
    Results,
    check_files,
    check_grid,
    check_order,
    check_reference,
    check_truth,
)
from api.selftest.command import selftest
from model.bundle import DEFAULT_BUNDLE, default_checkpoints
from model.evaluation.phantom import TYPICAL_SEED
from model.meshes.formats import read_mesh, write_mesh
from model.structures import STRUCTURE_IDS
from model.volumes.read import read_image
from model.volumes.write import write_nifti

SETTINGS = {
    "COCHLEAR_ACCESS": "keys",
    "COCHLEAR_BUNDLE": DEFAULT_BUNDLE,
    "COCHLEAR_STALE_AFTER_S": "30",
    "COCHLEAR_DEAF_AFTER_S": "60",
}


@dataclass(frozen=True)
class Done:
    """A self-test that was run: what it left, said and reported."""

    folder: Path
    output: str
    report: dict[str, object]
    jobs_left: int


def command(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(selftest)
    ran = CliRunner().invoke(app, list(arguments))
    return ran.exit_code, ran.output


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("selftest")
    with Service(folder / "data", default_checkpoints(), **SETTINGS) as service:
        key = make_key(folder / "data", Scope.SUBMIT, Scope.READ)
        arguments = ("--url", service.url, "--api-key", key, "--json", str(folder / "report.json"))
        code, output = command(*arguments, "--out", str(folder / "out"))
        assert code == 0, output
        with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as client:
            left = len(as_json(client.get("/v1/jobs"))["jobs"])
    return Done(folder / "out", output, json.loads((folder / "report.json").read_text()), left)


@pytest.fixture
def copied(done: Done, tmp_path: Path) -> Path:
    """A copy of phantom and results, to spoil."""
    shutil.copytree(done.folder, tmp_path / "copy")
    return tmp_path / "copy"


def first_of(folder: Path) -> Results:
    return Results(folder / "first", folder / "phantom" / "ct.nii.gz")


def second_of(folder: Path) -> Results:
    return Results(folder / "reordered", folder / "phantom" / "reordered.nii.gz")


def failed(checks: list[Check]) -> set[str]:
    return {check.name.partition(": ")[2] or check.name for check in checks if not check.passed}


def test_the_shipped_model_passes_and_nothing_is_left(done: Done) -> None:
    assert done.jobs_left == 0
    assert done.report["passed"] is True
    assert done.report["erased"] is True
    checks = done.report["checks"]
    assert isinstance(checks, list)
    assert len([check for check in checks if "mean vertex error" in check["name"]]) == len(STRUCTURE_IDS)
    assert "difference from this model's reference" in {check["name"] for check in checks}
    assert "digest" in done.output
    assert done.output.rstrip().endswith("passed")


def test_a_mesh_in_the_wrong_place_is_found(copied: Path) -> None:
    path = copied / "first" / "meshes" / "labyrinth.vtk"
    mesh = read_mesh(path)
    write_mesh(mesh.with_vertices(mesh.vertices + np.array([0.6, 0.0, 0.0])), path, title="labyrinth")
    checks = check_truth(first_of(copied), copied / "phantom" / "truth", 0.5)
    assert failed(checks) == {"mean vertex error", "mask and mesh"}
    assert not check_order(first_of(copied), second_of(copied))[0].passed
    digest = json.loads((copied / "first" / "report.json").read_text())["model"]["digest"]
    assert failed(check_reference(first_of(copied), copied / "phantom" / "truth", digest, TYPICAL_SEED))
    assert not check_files(copied / "first").passed


def test_a_mirrored_mask_is_found(copied: Path) -> None:
    path = copied / "first" / "masks" / "scala_tympani.nii.gz"
    mask = read_image(path)
    write_nifti(path, mask.data[::-1].astype(np.uint8), mask.affine)
    checks = check_truth(first_of(copied), copied / "phantom" / "truth", 0.5)
    assert failed(checks) == {"mask and truth", "mask and mesh"}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_on_another_grid_is_found(copied: Path, axis: int) -> None:
    path = copied / "reordered" / "masks" / "labels.nii.gz"
    mask = read_image(path)
    affine = mask.affine.copy()
    affine[:3, 3] += 0.5 * affine[:3, axis]
    write_nifti(path, mask.data.astype(np.uint8), affine)
    found = check_grid(second_of(copied))
    assert not found.passed
    assert found.found == pytest.approx(0.1, abs=1e-3), "half a voxel of 0.2 mm"


def test_a_damaged_or_missing_file_is_found(copied: Path) -> None:
    preview = copied / "first" / "preview.png"
    preview.write_bytes(preview.read_bytes() + b"\0")
    assert check_files(copied / "first").found == 1
    (copied / "first" / "masks" / "modiolus.nii.gz").unlink()
    (copied / "first" / "stranger").write_bytes(b"")
    assert check_files(copied / "first").found == 3


def test_a_tolerance_that_nobody_keeps_fails_and_no_number_never_passes(done: Done) -> None:
    checks = check_truth(first_of(done.folder), done.folder / "phantom" / "truth", 0.01)
    assert failed(checks) == {"mean vertex error"}
    assert not Check("n", float("nan"), 1.0, "mm").passed


def test_no_service_is_told_and_not_taken_for_passed(tmp_path: Path) -> None:
    code, _ = command("--url", "http://127.0.0.1:9", "--json", str(tmp_path / "report.json"))
    assert code != 0
    assert not (tmp_path / "report.json").exists()
