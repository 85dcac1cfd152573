"""What a run keeps and shows: best and averaged weights, early stops, logs, pictures, several processes."""

from __future__ import annotations

import csv
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_training
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from tiny_training import GRID, REGION, SAMPLES, run, run_process, tiny_config

from model.errors import DeviceError, InputError, RunError
from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.runtime.fit import load_weights
from model.training.runtime.machine import check_trainer
from model.training.sections import OptimiserSection, TrainerSection

CPU: dict[str, Any] = {"accelerator": "cpu", "workers": 0}


def column(path: Path, name: str) -> list[float]:
    """Give a column of a table."""
    with path.open(encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def state(path: Path, key: str = "state_dict") -> dict[str, torch.Tensor]:
    """Give the network's weights of a checkpoint."""
    saved = torch.load(path, map_location="cpu", weights_only=True)[key]
    return {name: value for name, value in saved.items() if name.startswith("network.")}


def test_a_run_keeps_best_and_last_and_draws_and_logs(tmp_path: Path) -> None:
    result = run(tiny_config(), tmp_path)
    losses = column(tmp_path / "log" / "validation.csv", "validation_loss")
    assert len(losses) == 6
    assert result.validation_loss == pytest.approx(min(losses), abs=1e-9)
    assert result.best is not None
    steps = [torch.load(path, weights_only=True)["global_step"] for path in (result.best, result.last)]
    assert steps == [2 * (1 + int(np.argmin(losses))), 12]
    network = CoarseToFineNet(grid=GRID, region=REGION, samples=SAMPLES, widths=(8,), finest=0)
    load_weights(network, result.chosen)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state(result.best)[f"network.{name}"])

    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["step-000002.png", "step-000008.png"]
    shown = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in pictures]
    assert all((np.ptp(image, axis=2) > 40).any() for image in shown)  # outlines in the structure's colour
    assert (shown[0] != shown[1]).any()

    board = EventAccumulator(str(tmp_path / "log")).Reload()
    logged = [event.value for event in board.Scalars("loss")]
    np.testing.assert_allclose(logged, column(tmp_path / "log" / "training.csv", "loss"), rtol=1e-6)
    rates = column(tmp_path / "log" / "training.csv", "learning_rate")
    # One cycle in torch's way: the rate of the first step is a twenty-fifth of the largest.
    assert rates[0] == pytest.approx(5e-3 / 25, rel=1e-6)
    assert max(rates) == pytest.approx(5e-3, rel=0.05)
    assert rates[-1] < rates[-2] < max(rates)
    np.testing.assert_allclose([event.value for event in board.Scalars("learning_rate")], rates, rtol=1e-6)


def test_the_average_is_that_of_the_weights_after_every_step(tmp_path: Path) -> None:
    trainer = {**CPU, "checkpoint_every": 1, "validate_every": 5, "ema_decay": 0.3, "picture_every": 0}
    kept: dict[str, torch.Tensor] = {}
    for step in range(1, 5):
        with pytest.raises(tiny_training.StoppedError):
            run(tiny_config(trainer=trainer), tmp_path, step + 1)
        current = state(tmp_path / "checkpoints" / "last.ckpt", "current_model_state")
        share = 0.0 if step == 1 else min(0.3, step / (9 + step))
        kept = {name: share * kept.get(name, value) + (1 - share) * value for name, value in current.items()}
        averaged = state(tmp_path / "checkpoints" / "last.ckpt")
        for name, value in kept.items():
            torch.testing.assert_close(averaged[name], value, atol=1e-6, rtol=1e-5)


def test_a_run_without_gain_stops_early_and_stays_stopped(tmp_path: Path) -> None:
    # The loss moves once, and then a rate of next to nothing lets it stand still.
    optimiser = {"steps": 40, "learning_rate": 1e-30, "schedule": "constant", "warm_up": 0.0, "weight_decay": 0.0}
    trainer = {**CPU, "checkpoint_every": 50, "validate_every": 2, "early_stopping": 3}
    result = run(tiny_config(optimiser=optimiser, trainer=trainer), tmp_path)
    assert result.steps == 8
    (tmp_path / "checkpoints" / "finished.json").unlink()
    again = run(tiny_config(optimiser=optimiser, trainer=trainer), tmp_path)
    assert again == result
    assert column(tmp_path / "log" / "training.csv", "step") == list(range(1, 9))


def test_a_run_that_diverges_is_named_and_keeps_sound_weights(tmp_path: Path) -> None:
    optimiser = {"steps": 60, "learning_rate": 1e30, "clip": 0.0, "schedule": "constant", "warm_up": 0.0}
    trainer = {**CPU, "checkpoint_every": 1, "validate_every": 50}
    with pytest.raises(RunError, match="diverged"):
        run(tiny_config(optimiser=optimiser, trainer=trainer), tmp_path)
    last = state(tmp_path / "checkpoints" / "last.ckpt")
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] < 10
    assert last


def test_half_precision_learns_as_well(tmp_path: Path) -> None:
    optimiser = {"steps": 40, "learning_rate": 5e-3}
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        trainer = {**CPU, "precision": precision, "validate_every": 40, "picture_every": 0}
        run(tiny_config(optimiser=optimiser, trainer=trainer), tmp_path / precision)
        table = tmp_path / precision / "log" / "training.csv"
        before, after = column(table, "before"), column(table, "after")
        assert np.mean(after[-5:]) < 0.6 * np.mean(before[-5:])
        found[precision] = after
    assert found["32-true"] != found["bf16-mixed"]


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # No points drawn at random within a step: each process draws its own.
    loss, trainer = {"chamfer": 0.0}, {**CPU, "checkpoint_every": 3, "validate_every": 3, "picture_every": 1}
    two = tiny_config(loss=loss, trainer={**trainer, "devices": 2}, optimiser={"steps": 3, "batch": 1})
    done = run_process(two, tmp_path / "two", env={"MASTER_PORT": str(port)})
    assert done.returncode == 0, done.stderr.decode()
    one = tiny_config(loss=loss, trainer=trainer, optimiser={"steps": 3, "batch": 2})
    run(one, tmp_path / "one")
    last = [state(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("one", "two")]
    for name, value in last[0].items():
        torch.testing.assert_close(last[1][name], value, atol=2e-5, rtol=1e-4)
    validated = [column(tmp_path / name / "log" / "validation.csv", "validation_loss") for name in ("one", "two")]
    assert validated[1] == pytest.approx(validated[0], rel=1e-3)


@pytest.mark.parametrize(
    ("optimiser", "trainer", "error", "key"),
    [
        ({}, {"accelerator": "gpu", "devices": 64}, DeviceError, "trainer.devices"),
        ({}, {"accelerator": "cpu", "precision": "16-mixed"}, InputError, "trainer.precision"),
        ({}, {"early_stopping": 2}, InputError, "trainer.early_stopping"),
        ({"schedule": "plateau"}, {}, InputError, "optimiser.schedule"),
    ],
)
def test_what_cannot_be_done_here_is_refused(
    optimiser: dict[str, Any], trainer: dict[str, Any], error: type[Exception], key: str
) -> None:
    sections = OptimiserSection(**optimiser), TrainerSection(**trainer)
    with pytest.raises(error, match=key):
        check_trainer(*sections, validation=False)
