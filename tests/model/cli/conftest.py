"""The command line as a fixture."""

from __future__ import annotations

import pytest
from cli_runs import Cochlear


@pytest.fixture
def cochlear(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cochlear:
    return Cochlear(monkeypatch, capsys)
