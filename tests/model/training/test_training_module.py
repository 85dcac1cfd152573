"""The training step: what it measures, and that it learns."""

from __future__ import annotations

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet, TrainingCase
from model.training.data import ChangedCases
from model.training.module import RegistrationTraining, point_to_point, roughness

GRID, SPACING_MM = 24, 0.5


def test_point_to_point_is_the_mean_distance_of_each_group() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 6, 3))
    distance = np.sqrt(((predicted - true) ** 2).sum(-1))
    expected = [distance[:, :3].mean(), distance[:, 3:].mean()]
    found = point_to_point(torch.from_numpy(predicted), torch.from_numpy(true), 2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_roughness_is_zero_for_linear_fields_only() -> None:
    axis = torch.arange(6.0)
    i, j, k = torch.meshgrid(axis, axis, axis, indexing="ij")
    linear = torch.stack([2 * i - j, 3 * k + i, j])[None]
    assert float(roughness(linear)) < 1e-9
    curved = torch.stack([i * i, 0 * i, 0 * i])[None]
    # The second difference is 2 in one of three channels along one of three axes.
    assert float(roughness(curved)) == pytest.approx(4 / 9, rel=1e-3)


def toy() -> tuple[CaseSet, torch.Tensor]:
    """Give one dark ball in bone as the only case, and the atlas: the same ball shifted by two voxels."""
    centre = np.array([11.0, 12.0, 13.0])
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offset = np.moveaxis(np.indices((GRID,) * 3), 0, -1)
    shift = np.array([2.0, -1.0, 0.0])

    def ball(at: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(800 + 1000 * np.tanh(np.linalg.norm(offset - at, axis=-1) - 5))

    case = TrainingCase(ball(centre + shift).astype(np.int16), (centre + shift + 5 * directions).astype(np.float32))
    atlas = torch.from_numpy((ball(centre) - 800) / 1800).float()
    return CaseSet((case,), (centre + 5 * directions).astype(np.float32), {"one": 100, "two": 100}), atlas


class Losses(lightning.Callback):
    """Keeps what a run logged."""

    def __init__(self) -> None:
        """Start empty."""
        self.after: list[float] = []
        self.passes: list[int] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        self.after.append(float(trainer.callback_metrics["after"]))
        assert isinstance(module.network, CoarseToFineNet)
        self.passes.append(module.network.passes)


def test_a_short_run_learns_a_toy_problem() -> None:
    torch.manual_seed(0)
    cases, atlas = toy()
    network = CoarseToFineNet(grid=GRID, region=(1, 22), samples=16, widths=(8, 8), passes=2)
    module = RegistrationTraining(
        network,
        atlas,
        torch.from_numpy(cases.atlas_vertices_ijk),
        structures=tuple(cases.counts),
        spacing_mm=SPACING_MM,
        steps=60,
        single_pass_steps=40,
        learning_rate=5e-3,
        stiffness=0.02,
    )
    gentle = AugmentOptions(rotation_deg=1, translation_mm=0.05, scale=0.01, displacements_mm=(0.02, 0.02, 0.02))
    data = ChangedCases([cases], (1.0,), grid=GRID, region=(1, 22), samples=16, points=50, seed=0, options=gentle)
    losses = Losses()
    trainer = lightning.Trainer(
        max_steps=60,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[losses],
    )
    trainer.fit(module, DataLoader(data, batch_size=2))
    before, after = np.mean(losses.after[:3]), np.mean(losses.after[-10:])
    assert before == pytest.approx(np.sqrt(5) * SPACING_MM, rel=0.3)
    assert after < 0.5 * before
    assert losses.passes == [1] * 40 + [2] * 20
