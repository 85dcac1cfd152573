"""`model-train` and `cochlear atlas`: what they refuse before any work is done."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_runs import Cochlear

from model.cli.train import main

FRAME = {"grid": [128, 128, 128], "spacing_mm": 0.2, "axes": "LPS", "side": "left", "landmarks_ijk": {}}


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: Path) -> str:
    """Run `model-train` on things that cannot be used and give its line."""
    names = ("--config", "--ears", "--atlas", "--experiment", "--out")
    pairs = [part for name, value in zip(names, arguments, strict=True) for part in (name, str(value))]
    monkeypatch.setattr(sys, "argv", ["model-train", *pairs])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    return error


def test_training_needs_a_configuration_ears_and_an_atlas(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config, ears, atlas = tmp_path / "run.toml", tmp_path / "ears", tmp_path / "atlas"
    rest = (ears, atlas, tmp_path / "experiment", tmp_path / "bundles")
    assert "configuration" in refused(monkeypatch, capsys, config, *rest)
    config.write_text('name = "a"\n[optimiser]\nstepz = 3\n')
    assert "stepz" in refused(monkeypatch, capsys, config, *rest)
    config.write_text('name = "a"\n')
    assert "frame" in refused(monkeypatch, capsys, config, *rest)
    ears.mkdir()
    (ears / "frame.json").write_text("[1, 2]")
    refused(monkeypatch, capsys, config, *rest)
    (ears / "frame.json").write_text(json.dumps(FRAME))
    assert "split" in refused(monkeypatch, capsys, config, *rest)
    (ears / "split.json").write_text(json.dumps({"train": ["F01"], "validation": []}))
    assert "F01" in refused(monkeypatch, capsys, config, *rest)
    (ears / "split.json").write_text(json.dumps({"train": [], "validation": []}))
    assert "atlas" in refused(monkeypatch, capsys, config, *rest)
    assert not (tmp_path / "experiment").exists()
    assert not (tmp_path / "bundles").exists()


def test_an_atlas_needs_ears_and_a_template_among_them(cochlear: Cochlear, tmp_path: Path) -> None:
    ears, out = tmp_path / "ears", tmp_path / "atlas"
    ears.mkdir()
    assert "frame" in cochlear.refuses("atlas", "--ears", ears, "--out", out)
    (ears / "frame.json").write_text(json.dumps(FRAME))
    (ears / "split.json").write_text(json.dumps({"train": ["F01"], "validation": []}))
    assert "T99" in cochlear.refuses("atlas", "--ears", ears, "--out", out, "--template", "T99")
    assert "F01" in cochlear.refuses("atlas", "--ears", ears, "--out", out, "--template", "F01")
    assert not out.exists()
