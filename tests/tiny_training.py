"""A training run of seconds: a shifted ball is registered to a ball, with everything that a run may use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import trimesh
from torch.utils.data import Dataset, Subset

from model.meshes.mesh import SurfaceMesh
from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet, TrainingCase
from model.training.config import TrainingConfig
from model.training.data import ChangedCases
from model.training.registration_module import RegistrationTraining
from model.training.runtime.fit import FitResult, fit
from model.training.runtime.length import run_length

GRID, SPACING_MM, REGION, STRUCTURE = 16, 0.5, (1, 14), "labyrinth"
CENTRE, SHIFT, RADIUS = np.array([7.0, 8.0, 7.5]), np.array([1.5, -1.0, 0.5]), 4.0
CASES, SAMPLES = 4, 16


def ball(centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give a dark ball in bone, HU."""
    offset = np.moveaxis(np.indices((GRID,) * 3), 0, -1) - centre
    return np.asarray(800 + 1000 * np.tanh(np.linalg.norm(offset, axis=-1) - RADIUS))


def atlas_mesh() -> SurfaceMesh:
    """Give the surface of the atlas: a ball."""
    sphere = trimesh.creation.icosphere(subdivisions=1, radius=RADIUS)
    return SurfaceMesh(np.asarray(sphere.vertices) + CENTRE, np.asarray(sphere.faces, dtype=np.int32), "ijk")


def atlas_image() -> npt.NDArray[np.float32]:
    """Give the image of the atlas in [-1, 1]."""
    return ((ball(CENTRE) - 800) / 1800).astype(np.float32)


def draws(seed: int, *, masks: bool = False) -> ChangedCases:
    """Give draws of one case: the atlas shifted."""
    mesh = atlas_mesh()
    vertices = (mesh.vertices + SHIFT).astype(np.float32)
    case = TrainingCase(ball(CENTRE + SHIFT).astype(np.int16), vertices)
    cases = CaseSet((case,), mesh.vertices.astype(np.float32), {STRUCTURE: len(vertices)})
    options = AugmentOptions(
        rotation_deg=1, translation_mm=0.05, scale=0.01, controls=(5,), displacements_mm=(0.02,), noise=0.02
    )
    return ChangedCases(
        [cases],
        (1.0,),
        {STRUCTURE: mesh.triangles},
        grid=GRID,
        region=REGION,
        samples=SAMPLES,
        points=30,
        length=CASES,
        seed=seed,
        options=options,
        masks=masks,
    )


def tiny_config(**sections: dict[str, Any]) -> TrainingConfig:
    """Give a configuration, its sections changed as asked for."""
    base: dict[str, Any] = {
        "name": "tiny",
        # Fewer points than there are, so that every step draws some at random.
        "loss": {"point_to_point": 1.0, "point_to_plane": 0.5, "chamfer": 0.1, "chamfer_points": 20},
        "passes": {"single": 0.3},
        "optimiser": {"learning_rate": 5e-3, "steps": 12},
        "trainer": {
            "accelerator": "cpu",
            "checkpoint_every": 3,
            "validate_every": 2,
            "ema_decay": 0.8,
            "picture_every": 3,
            "workers": 0,
        },
    }
    return TrainingConfig.model_validate(
        {key: base.get(key, {}) | sections.get(key, {}) if key != "name" else base[key] for key in base | sections}
    )


def run(config: TrainingConfig, experiment: Path, stop_at: int = -1, how: str = "") -> FitResult:
    """Train; at step `stop_at`, stop by an error or by the signal `how`.

    On one thread, as in a process of its own: the order of sums depends on the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(config, experiment, stop_at, how)
    finally:
        torch.set_num_threads(threads)


def _run(config: TrainingConfig, experiment: Path, stop_at: int, how: str) -> FitResult:
    torch.manual_seed(config.seed)
    network = CoarseToFineNet(grid=GRID, region=REGION, samples=SAMPLES, widths=(8,), finest=0, passes=2)
    length = run_length(config.optimiser, config.trainer, CASES)

    def progress(text: str, done: float) -> None:
        if round(done * length.steps) == stop_at:
            if not how:
                raise StoppedError
            os.kill(os.getpid(), signal.Signals[how])

    validation: Dataset[Any] = Subset(draws(1), range(2))
    return fit(
        RegistrationTraining(
            network, atlas_image(), {STRUCTURE: atlas_mesh()}, config, spacing_mm=SPACING_MM, steps=length.steps
        ),
        draws(0),
        validation,
        length=length,
        optimiser=config.optimiser,
        trainer=config.trainer,
        seed=config.seed,
        experiment=experiment,
        progress=progress,
    )


class StoppedError(Exception):
    """The machine went off."""


def run_process(
    config: TrainingConfig,
    experiment: Path,
    kill_at: int = -1,
    env: Mapping[str, str] | None = None,
    how: str = "SIGKILL",
) -> subprocess.CompletedProcess[bytes]:
    """Train in a process of its own; at step `kill_at` it gets a signal, by default that which gives no warning."""
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(
        [sys.executable, __file__, config.model_dump_json(), str(experiment), str(kill_at), how],
        capture_output=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **(env or {})},
    )


if __name__ == "__main__":
    chosen = TrainingConfig.model_validate_json(sys.argv[1])
    run(chosen, Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
