"""Running `cochlear` in this process as a shell would, exit code and output included."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Cochlear:
    """Runs the command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Keep what the runs need of pytest."""
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        """Run one command and give its exit code and output."""
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["cochlear", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = self.capsys.readouterr()
        code = exit_info.value.code
        assert code is None or isinstance(code, int)
        return Ran(code or 0, out, err)

    def refuses(self, *arguments: str | Path, code: int = 2) -> str:
        """Run a command that must fail with one clear line, and give the line."""
        ran = self(*arguments)
        assert ran.code == code, ran
        lines = ran.err.strip().splitlines()
        assert len(lines) == 1, ran.err
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 500
        return lines[0]
