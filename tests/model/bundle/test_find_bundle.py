"""Bundles by name and path, and the sub-commands about them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundle_fixtures import write_sphere_bundle
from typer.testing import CliRunner

from model.bundle import bundle_names, default_checkpoints, find_bundle, list_bundles
from model.cli.bundle import app
from model.errors import DamagedBundleError, UnknownBundleError


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder of two bundles, one of them damaged, and of other things."""
    folder = tmp_path / "checkpoints"
    write_sphere_bundle(folder, "alpha")
    write_sphere_bundle(folder, "beta")
    (folder / "beta" / "bundle.json").write_text("{}")
    (folder / "empty").mkdir()
    (folder / "README.md").write_text("")
    return folder


def test_name_is_looked_up_in_the_folder(checkpoints: Path) -> None:
    assert find_bundle("alpha", checkpoints) == checkpoints / "alpha"


def test_path_is_taken_as_it_is(checkpoints: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(checkpoints / "alpha", tmp_path / "elsewhere")
    assert find_bundle(elsewhere, checkpoints) == elsewhere
    assert find_bundle(str(elsewhere), checkpoints) == elsewhere


@pytest.mark.parametrize("name", ["gamma", "", "../alpha", "no/such", "README.md", "\n"])
def test_unknown_bundle_lists_the_known_ones(checkpoints: Path, name: str) -> None:
    with pytest.raises(UnknownBundleError, match="alpha, beta"):
        find_bundle(name, checkpoints)


def test_folder_without_manifest_is_damaged(checkpoints: Path) -> None:
    with pytest.raises(DamagedBundleError, match=r"bundle\.json"):
        find_bundle("empty", checkpoints)


def test_environment_names_the_folder(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCHLEAR_CHECKPOINTS", str(checkpoints))
    assert find_bundle("alpha") == checkpoints / "alpha"
    monkeypatch.delenv("COCHLEAR_CHECKPOINTS")
    assert default_checkpoints().name == "checkpoints"
    assert (default_checkpoints().parent / "model" / "bundle").is_dir()


def test_list_leaves_out_what_cannot_be_read_and_says_so(checkpoints: Path, caplog: pytest.LogCaptureFixture) -> None:
    (checkpoints / "alpha").rename(checkpoints / "renamed")
    write_sphere_bundle(checkpoints, "alpha")
    assert bundle_names(checkpoints) == ["alpha", "beta", "renamed"]
    assert [manifest.name for manifest in list_bundles(checkpoints)] == ["alpha"]
    assert "beta" in caplog.text
    assert "renamed" in caplog.text
    assert bundle_names(checkpoints / "none") == []


def test_commands(checkpoints: Path) -> None:
    runner = CliRunner()
    options = ["--checkpoints", str(checkpoints)]
    listed = runner.invoke(app, ["list", *options]).output
    assert "published_registration" in listed
    assert "damaged" in listed
    shown = runner.invoke(app, ["show", "alpha", *options]).output
    assert "8 x 12 x 16 voxels of 0.2 mm" in shown
    assert "162 vertices" in shown
    assert "is sound: 4 files" in runner.invoke(app, ["verify", "alpha", *options]).output
    (checkpoints / "alpha" / "README.md").write_text("changed")
    assert isinstance(runner.invoke(app, ["verify", "alpha", *options]).exception, DamagedBundleError)
    assert runner.invoke(app, ["list", "--checkpoints", str(checkpoints / "none")]).output == "no bundles\n"
