"""`cochlear batch`, `wait` and `get` against the real service."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import typer
from service_fixtures import Ear, Service
from typer.testing import CliRunner

from api.batch_commands import batch, get, wait
from api.client import CochlearClient
from model.errors import InputError, RunError
from model.structures import STRUCTURE_IDS


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer()
    for command in (batch, wait, get):
        app.command()(command)
    return app


def test_a_folder_of_ears_becomes_results_and_a_table(
    controlled: Service, ear: Ear, app: typer.Typer, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shutil.copy(ear.image, tmp_path / f"{name}.nii.gz")
    shutil.copy(ear.landmarks, tmp_path / "one.json")
    out = tmp_path / "out"
    ears = [str(tmp_path / f"{name}.nii.gz") for name in ("one", "two")]
    ran = CliRunner().invoke(app, ["batch", *ears, "--out", str(out), "--url", controlled.url])
    assert isinstance(ran.exception, RunError), ran.output
    assert "two: refused" in ran.output
    assert (out / "one" / "report.json").is_file()
    rows = list(csv.DictReader((out / "measurements.csv").read_text().splitlines()))
    assert [row["structure"] for row in rows] == [*STRUCTURE_IDS, ""]

    with CochlearClient(controlled.url) as client:
        batch_id = ran.output.split()[1]
        job = client.batch(batch_id)["items"][0]["job"]
    assert CliRunner().invoke(app, ["wait", job, "--url", controlled.url]).exit_code == 0
    again = CliRunner().invoke(app, ["get", job, "--out", str(tmp_path / "again"), "--url", controlled.url])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "report.json").read_bytes() == (out / "one" / "report.json").read_bytes()


def test_ears_of_one_name_are_refused_before_anything_is_sent(ear: Ear, app: typer.Typer, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["batch", str(ear.image), str(ear.image), "--out", str(tmp_path / "out")])
    assert isinstance(ran.exception, InputError)
    assert not (tmp_path / "out").exists()
