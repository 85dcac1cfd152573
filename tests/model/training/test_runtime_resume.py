"""An interrupted run goes on to the same losses, whatever it uses and wherever it stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import StoppedError, run, run_process, tiny_config

PLATEAU: dict[str, Any] = {"learning_rate": 5e-3, "steps": 12, "schedule": "plateau", "plateau_patience": 0}
CPU: dict[str, Any] = {"accelerator": "cpu", "workers": 0}
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "averaged": {},
    "plateau": {"optimiser": PLATEAU, "trainer": {**CPU, "checkpoint_every": 2, "validate_every": 2}},
    "in-workers": {"trainer": {**CPU, "workers": 1, "checkpoint_every": 4, "validate_every": 3}},
    "half-precision": {"trainer": {**CPU, "precision": "bf16-mixed", "checkpoint_every": 1, "validate_every": 4}},
}


def tables(experiment: Path) -> list[str]:
    """Give the text of both tables of losses."""
    return [(experiment / "log" / name).read_text() for name in ("training.csv", "validation.csv")]


def weights(experiment: Path) -> dict[str, torch.Tensor]:
    """Give the weights of the last checkpoint."""
    saved = torch.load(experiment / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    return dict(saved["state_dict"])


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_run_ends_as_one_that_was_not(way: str, tmp_path: Path) -> None:
    config = tiny_config(**WAYS[way])
    whole = run(config, tmp_path / "whole")
    assert whole.steps == 12
    for stop_at in (4, 9):
        stopped = tmp_path / f"stopped-{stop_at}"
        with pytest.raises(StoppedError):
            run(config, stopped, stop_at)
        result = run(config, stopped)
        assert (result.steps, result.validation_loss) == (whole.steps, whole.validation_loss)
        assert tables(stopped) == tables(tmp_path / "whole")
        for name, value in weights(tmp_path / "whole").items():
            assert torch.equal(weights(stopped)[name], value)


def test_a_killed_run_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    config = tiny_config()
    killed = run_process(config, tmp_path / "killed", kill_at=8)
    assert killed.returncode == -9, killed.stderr.decode()
    # The eighth step was done and written down, but not yet in a checkpoint.
    first = tables(tmp_path / "killed")
    assert [row.split(",")[0] for row in first[0].splitlines()] == ["step", *(str(n) for n in range(1, 9))]
    run(config, tmp_path / "killed")
    run(config, tmp_path / "whole")
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    # Two processes with one seed gave the same losses.
    assert tables(tmp_path / "whole")[0].startswith(first[0])


def test_a_run_told_to_stop_has_failed_and_goes_on(tmp_path: Path) -> None:
    stopped = run_process(tiny_config(), tmp_path / "told", kill_at=8, how="SIGTERM")
    assert stopped.returncode == 1
    assert b"RunError: the training was told to stop" in stopped.stderr
    run(tiny_config(), tmp_path / "told")
    run(tiny_config(), tmp_path / "whole")
    assert tables(tmp_path / "told") == tables(tmp_path / "whole")


def test_another_seed_gives_other_losses(tmp_path: Path) -> None:
    runs = [tiny_config(), tiny_config().model_copy(update={"seed": 1})]
    for number, config in enumerate(runs):
        run(config, tmp_path / str(number))
    assert tables(tmp_path / "0") != tables(tmp_path / "1")


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    result = run(tiny_config(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert run(tiny_config(), tmp_path) == result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
