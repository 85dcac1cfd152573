"""Configurations of training runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import InputError
from model.training.config import read_config


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_run_is_read(tmp_path: Path) -> None:
    text = 'name = "a"\nseed = 3\n[optimiser]\nsteps = 7\n[network]\nwidths = [8, 16]\n[refinement]\nsteps = 5\n'
    config = read_config(write(tmp_path, text))
    assert (config.name, config.seed, config.optimiser.steps, config.network.widths) == ("a", 3, 7, (8, 16))
    assert config.refinement == {"steps": 5}
    assert config.data.synthetic == 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = ",
        'name = "no/name"\n',
        'name = "a"\nunknown = 1\n',
        'name = "a"\n[optimiser]\nsteps = 0\n',
        'name = "a"\n[optimiser]\nlearning_rate = -1.0\n',
        'name = "a"\n[optimiser]\nstep = 5\n',
        'name = "a"\n[data]\nshares = [1.0, 2.0]\n',
        'name = "a"\n[data]\nimplant_share = 1.5\n',
        'name = "a"\n[network]\nwidths = "wide"\n',
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="configuration cannot be used"):
        read_config(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="configuration"):
        read_config(tmp_path / "bytes.toml")
