"""Tables, draws, schedules and pictures of a run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH
from model.training.runtime.draws import StepDraws
from model.training.runtime.length import run_length
from model.training.runtime.loss_table import LossTable, read_losses
from model.training.runtime.optimisation import optimisation
from model.training.runtime.overlay import Overlay, draw_overlay
from model.training.sections import OptimiserSection, TrainerSection

NUMBERS = st.floats(allow_nan=False, width=32)
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), NUMBERS, min_size=1), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.data())
def test_a_table_survives_being_cut_short(tmp_path: Path, rows: list[dict[str, float]], data: st.DataObject) -> None:
    path = tmp_path / "losses.csv"
    path.unlink(missing_ok=True)
    start = data.draw(st.integers(0, len(rows)))
    table = LossTable(path, 0)
    for step, row in enumerate(rows, start=1):
        table.add(step, row)
        kept = path.read_bytes()
        if step == start:
            sound = len(kept)
    # The process dies while it writes rows after the last checkpoint.
    if start:
        columns_stay = {name for row in rows for name in row} == {name for row in rows[:start] for name in row}
        if columns_stay:
            path.write_bytes(kept[: data.draw(st.integers(sound, len(kept)))])
    table = LossTable(path, start)
    for step, row in enumerate(rows[start:], start=start + 1):
        table.add(step, row)
    found = read_losses(path)
    assert [int(row.pop("step")) for row in found] == list(range(1, len(rows) + 1))
    assert [{name: float(text) for name, text in row.items() if text} for row in found] == rows


@given(st.integers(1, 30), st.integers(1, 5), st.data())
def test_draws_come_once_each_and_go_on_where_they_stopped(steps: int, batch: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, steps))
    whole, rest = list(StepDraws(steps, batch, 0)), list(StepDraws(steps, batch, start))
    assert [draw for step in whole for draw in step] == list(range(steps * batch))
    assert rest == whole[start:]
    assert len(StepDraws(steps, batch, start)) == steps


def test_a_run_is_as_long_as_asked_for() -> None:
    trainer = TrainerSection(devices=2, checkpoint_every=0, validate_every=0)
    found = run_length(OptimiserSection(epochs=3, batch=4), trainer, cases=10)
    assert (found.steps, found.checkpoint_every, found.validate_every) == (4, 2, 2)
    found = run_length(OptimiserSection(steps=7), TrainerSection(checkpoint_every=3, validate_every=9), cases=10)
    assert (found.steps, found.checkpoint_every, found.validate_every) == (7, 3, 7)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_rates_rise_to_the_stated_one_and_then_fall_or_stay(schedule: str) -> None:
    section = OptimiserSection.model_validate({"learning_rate": 0.5, "schedule": schedule, "warm_up": 0.25})
    made = optimisation([torch.nn.Parameter(torch.zeros(1))], section, 40)
    rates = []
    for _ in range(40):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    top = int(np.argmax(rates))
    assert max(rates) == pytest.approx(0.5, rel=0.02)
    assert 9 <= top <= 11
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    fall = list(pairwise(rates[top:]))
    assert all(a == b for a, b in fall) if schedule == "constant" else all(a > b for a, b in fall)
    assert rates[-1] == pytest.approx(0.5) if schedule == "constant" else rates[-1] < 0.01


@pytest.mark.parametrize("kind", ["surface", "mask", "points"])
def test_outlines_lie_where_the_slice_cuts_the_shape(kind: str, tmp_path: Path) -> None:
    centre, radius, shape = np.array([30.0, 20.0, 26.0]), 9.0, (64, 48, 56)
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    vertices = np.asarray(sphere.vertices) + centre
    mask = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - centre, axis=-1) <= radius
    faces = np.asarray(sphere.faces, dtype=np.int32)
    drawn = {"surface": SurfaceMesh(vertices, faces, "ijk"), "mask": mask, "points": vertices}[kind]
    path = tmp_path / "picture.png"
    draw_overlay(Overlay(np.full(shape, -1.0), {LABYRINTH.id: drawn}, {LABYRINTH.id: mask}), path)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    size = picture.shape[0]
    for number, axis in enumerate((2, 1, 0)):
        panel = picture[:, number * size : (number + 1) * size]
        rows, columns = np.nonzero(np.abs(panel - LABYRINTH.colour).sum(axis=2) < 10)
        right, down = (other for other in range(3) if other != axis)
        scale = size / max(shape[right], shape[down])
        across = np.stack([columns, rows], axis=1) / scale - 0.5 - centre[[right, down]]
        distance = np.linalg.norm(across, axis=1)
        assert len(distance) > 50
        assert np.abs(distance - radius).max() < 1.0
        assert (np.abs(across.mean(axis=0)) < 1.0).all()
