"""`cochlear` as a whole."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import typer
from cli_runs import Cochlear
from typer.main import get_command

from model.cli.commands import COMMANDS
from model.cli.errors import EXTRAS
from model.cli.main import build_app


def test_all_sub_commands_are_there() -> None:
    command = get_command(build_app())
    names = set(getattr(command, "commands", {}))
    ours = {"segment", "crop", "voxelize", "mesh", "register-mesh", "evaluate", "synthesize", "atlas", "bundle"}
    assert ours | {"reproduce", "reproduce-figures"} == set(COMMANDS)
    assert names >= set(COMMANDS) | {"serve", "worker", "submit"}
    assert isinstance(COMMANDS["bundle"], typer.Typer)


def test_help_and_usage(cochlear: Cochlear) -> None:
    ran = cochlear("--help")
    assert ran.code == 0
    assert "segment" in ran.out
    for name in COMMANDS:
        assert cochlear(name, "--help").code == 0
    ran = cochlear("segmnet")
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert cochlear().code == 2


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # as if it were not installed
folder = sys.argv[1]
sys.argv = ["cochlear", "reproduce", "--activation-maps", folder, "--bundle", "cochlea-ct-v2", "--out", folder]
from model.cli.main import main
main()
"""


def test_a_package_that_is_not_installed_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "no torch" in done.stderr
    assert "cochlear[worker]" in done.stderr


def test_extras_that_are_named_exist() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]
    for package, extra in EXTRAS.items():
        assert any(package in requirement for requirement in project["optional-dependencies"][extra]), package
        assert package not in project["dependencies"]
