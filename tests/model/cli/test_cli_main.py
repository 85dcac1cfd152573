"""`cochlear` as a whole."""

from __future__ import annotations

import typer
from cli_runs import Cochlear
from typer.main import get_command

from model.cli.commands import COMMANDS
from model.cli.main import build_app


def test_all_sub_commands_are_there() -> None:
    command = get_command(build_app())
    names = set(getattr(command, "commands", {}))
    ours = {"segment", "crop", "voxelize", "mesh", "register-mesh", "evaluate", "synthesize", "atlas", "bundle"}
    assert ours == set(COMMANDS)
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
