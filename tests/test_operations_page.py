"""The operator's page names every problem, check, command and setting as they are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from api.problems import STATUS
from api.selftest.checks import (
    LARGEST_ORDER_MM,
    LARGEST_SHIFT_MM,
    LEAST_AGREEMENT,
    LEAST_DICE,
    REFERENCE_MM,
    REFERENCE_TOLERANCE_MM,
)
from api.selftest.command import selftest
from model.cli.main import build_app
from worker.backup.commands import backup, restore
from worker.redis_errors import REASONS
from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
OF_CLIENTS = {"API_KEY"}
"""Variables of the command line, not of the service."""


def section(number: int) -> str:
    """Give the text of a question."""
    return PAGE.split(f"\n## {number}. ")[1].split("\n## ")[0]


def commands() -> dict[str, Any]:
    """Give all sub-commands by name."""
    app = build_app()
    for command in (selftest, backup, restore):
        app.command(command.__name__)(command)
    # Typer brings its own copy of click, whose classes are not those of the package of that name.
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def test_there_are_ten_questions() -> None:
    assert re.findall(r"^## (\d+)\. .*\?$", PAGE, re.MULTILINE) == [str(number) for number in range(1, 11)]


def test_every_problem_code_is_explained_once() -> None:
    rows = [line.split("|")[1] for line in section(8).splitlines() if line.startswith("| `")]
    explained = [code for row in rows for code in re.findall(r"`([^`]+)`", row)]
    assert len(set(explained)) == len(explained)
    assert set(explained) == set(STATUS) | {"queue-unavailable"}


def test_every_reason_of_the_readiness_checks_is_explained() -> None:
    table = section(6)
    for _, words in REASONS:
        assert words in table, words
    for check in ("redis", "disk", "worker", "bundle"):
        assert f"| `{check}` |" in table


def test_every_setting_named_exists() -> None:
    named = set(re.findall(r"COCHLEAR_([A-Z_]+[A-Z])", PAGE))
    known = {name.upper() for name in Settings.model_fields}
    assert named - known <= OF_CLIENTS


def test_every_command_exists_with_its_options() -> None:
    known = commands()
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.split(" # ")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spoken = re.findall(r"`(cochlear [^`]+)`", PAGE.replace("\n", " "))
    call = re.compile(r"(?:^|&& |`|\s)(cochlear [a-z].*?)(?: &&|$)")
    pieces = [piece for line in [*lines, *spoken] for piece in call.findall(line)]
    assert len(pieces) > 20
    for piece in pieces:
        words = shlex.split(piece.split(" > ")[0], posix=True)[1:]
        command = known[words.pop(0)]
        if hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        offered = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= offered, piece


def test_files_it_names_are_there() -> None:
    for name in re.findall(r"`?(deploy/[\w/.-]+\.(?:json|yml))", PAGE):
        assert (ROOT / name).is_file(), name


def test_the_limits_of_the_self_test_are_those_of_the_program() -> None:
    table = section(5)
    for limit in (REFERENCE_TOLERANCE_MM, LEAST_DICE, LEAST_AGREEMENT, LARGEST_SHIFT_MM, LARGEST_ORDER_MM):
        assert f"| {limit:g}" in table, limit
    [measured] = REFERENCE_MM.values()
    for value in measured.values():
        assert re.search(rf"\b{value:.4f}\b", table), value
