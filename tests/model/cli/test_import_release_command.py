"""`cochlear bundle import-release` as a shell runs it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from cli_runs import Cochlear
from release_fixtures import TinyRelease, write_release

from model.bundle import load_bundle


@pytest.fixture
def release(tmp_path: Path) -> TinyRelease:
    return write_release(tmp_path)


def arguments(release: TinyRelease, method: str = "chamfer") -> list[str | Path]:
    """Give the options of an import."""
    return [
        *("bundle", "import-release", "--checkpoint", release.checkpoint(method), "--atlas", release.atlas),
        *("--method", method, "--to", release.folder / "to"),
    ]


def test_every_method_is_imported_and_shown(cochlear: Cochlear, release: TinyRelease) -> None:
    for method in ("chamfer", "p2p", "dice", "segnet"):
        ran = cochlear(*arguments(release, method), "--name", method)
        assert ran.code == 0, ran.err
        assert load_bundle(release.folder / "to" / method).name == method
        assert ("activation maps" in ran.err) == (method in ("p2p", "dice"))
        shown = cochlear("bundle", "show", method, "--checkpoints", release.folder / "to").out
        assert "28 x 32 x 40 voxels of 0.2 mm" in shown
        assert ("raw CT with landmarks" in shown) == (method in ("chamfer", "segnet"))
        assert cochlear("bundle", "verify", method, "--checkpoints", release.folder / "to").code == 0


def test_an_earlier_bundle_is_kept_unless_told(cochlear: Cochlear, release: TinyRelease) -> None:
    command = [*arguments(release), "--name", "mine"]
    assert cochlear(*command).code == 0
    assert "exists already" in cochlear.refuses(*command)
    assert cochlear(*command, "--replace").code == 0


def test_what_is_wrong_is_said_in_one_line(cochlear: Cochlear, release: TinyRelease) -> None:
    command = arguments(release)
    line = cochlear.refuses(*arguments(release)[:-4], "--method", "elastix", "--name", "mine")
    assert "expected chamfer or p2p or dice or segnet; found 'elastix'" in line
    assert "name of the bundle" in cochlear.refuses(*command, "--name", "a/b")
    (release.atlas / "atlas_SV.mesh").rename(release.folder / "kept")
    line = cochlear.refuses(*command, "--name", "mine")
    assert "expected atlas_SV.mesh" in line
    assert str(release.folder) not in line
    (release.folder / "kept").rename(release.atlas / "atlas_SV.mesh")
    (release.atlas / "atlas_all_vtx.pkl").write_bytes(pickle.dumps(release.vertices[::-1]))
    assert "same vertices in the same order" in cochlear.refuses(*command, "--name", "mine")
    release.checkpoint("chamfer").write_bytes(b"PK")
    assert "best.pth" in cochlear.refuses(*command, "--name", "mine")
    assert not (release.folder / "to").exists()


def test_options_that_are_missing_are_usage_errors(cochlear: Cochlear, release: TinyRelease) -> None:
    for missing in ("--checkpoint", "--atlas", "--method", "--name"):
        given = [*arguments(release), "--name", "mine"]
        at = given.index(missing)
        ran = cochlear(*given[:at], *given[at + 2 :])
        assert (ran.code, missing in ran.err) == (2, True)
    assert cochlear("bundle", "import-release", "best.pth", "atlas", "--method", "p2p", "--name", "x").code == 2
