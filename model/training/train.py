"""A whole training run: cases, network, checkpoints to resume from, and the bundle at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from model.atlas.build import Atlas
from model.atlas.labelled_ears import LabelledEar
from model.bundle.schema import (
    BundleDescription,
    FrameSection,
    HuWindow,
    NetworkSection,
    TrainingSection,
)
from model.bundle.write import write_bundle
from model.geometry.frame import CanonicalFrame
from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.augment import AugmentOptions
from model.training.cases import CaseSet
from model.training.config import TrainingConfig
from model.training.data import ChangedCases
from model.training.module import RegistrationTraining
from model.training.prepare import prepare_cases

WINDOW = HuWindow(low=-1000.0, high=2600.0, fill_hu=-1024.0)
CITATION = (
    "W. Wimmer et al., Human bony labyrinth dataset: Co-registered CT and micro-CT images, surface models and "
    "anatomical landmarks, Data in Brief 27 (2019) 104782, doi 10.1016/j.dib.2019.104782 (CC BY 4.0)"
)
LIMITS = (
    "Trained on CT of specimens without metal, on the same with simulated electrode arrays, and on synthetic ears; no "
    "image of an implanted patient was seen.",
    "Truth for scala tympani, scala vestibuli and modiolus is the deformed atlas, not a label.",
    "Malformed or ossified cochleae are not represented.",
)


def train(
    ears: list[LabelledEar],
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    experiment: Path,
    out: Path,
    progress: Callable[[str, float], None],
) -> Path:
    """Train a model; started again with the same arguments it goes on where it stopped.

    Args:
        ears: the training ears.
        atlas: the atlas built from them.
        frame: the canonical frame.
        config: the run.
        experiment: folder for cases and checkpoints.
        out: folder to write the bundle into.
        progress: called with what is being done and the fraction done.

    Returns:
        The folder of the bundle.
    """
    lightning.seed_everything(config.seed, verbose=False)
    sets = prepare_cases(ears, atlas, config.data, experiment / "cases", progress)
    network = CoarseToFineNet(grid=frame.grid[0], **config.network.model_dump())
    image = _window(atlas.image_hu)
    module = RegistrationTraining(
        network,
        torch.from_numpy(image),
        torch.from_numpy(atlas.vertices_ijk()),
        structures=tuple(atlas.counts()),
        spacing_mm=frame.spacing_mm,
        steps=config.optimiser.steps,
        single_pass_steps=round(config.optimiser.single_pass_steps * config.optimiser.steps),
        learning_rate=config.optimiser.learning_rate,
        stiffness=config.optimiser.stiffness,
    )
    checkpoints = ModelCheckpoint(
        dirpath=experiment / "checkpoints", save_last=True, every_n_train_steps=config.optimiser.checkpoint_every
    )
    trainer = lightning.Trainer(
        max_steps=config.optimiser.steps,
        precision=config.optimiser.precision,  # type: ignore[arg-type]
        gradient_clip_val=1.0,
        logger=lightning.pytorch.loggers.CSVLogger(experiment, name="log"),
        callbacks=[checkpoints, _Report(progress, config.optimiser.steps)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=20,
        use_distributed_sampler=False,
    )
    last = experiment / "checkpoints" / "last.ckpt"
    resumed = last if last.exists() else None
    # A resumed run draws from another stream, so that it does not see the first draws again.
    start = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]) if resumed else 0
    trainer.fit(module, _loader(sets, network, frame, config, start), ckpt_path=resumed)
    return write_trained(network, image, atlas, frame, config, out)


def write_trained(
    network: CoarseToFineNet,
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    out: Path,
) -> Path:
    """Write the bundle of a trained network."""
    description = BundleDescription(
        name=config.name,
        version=config.version,
        licence="Apache-2.0",
        citation=CITATION,
        intended_use="Research use only. Not for diagnosis or treatment.",
        limits=LIMITS,
        network=NetworkSection(
            class_name="coarse_to_fine",
            parameters={"grid": frame.grid[0], **config.network.model_dump(mode="json")},
        ),
        refinement=config.refinement,
        frame=FrameSection.model_validate(frame.to_json()),
        intensity=WINDOW,
        training=TrainingSection(
            data=f"{len(atlas.ear_vertices_ijk)} labelled CT of specimens "
            f"({', '.join(sorted(atlas.ear_vertices_ijk))}), the same with simulated electrode arrays, and "
            f"{config.data.synthetic} synthetic ears.",
            citation=CITATION,
            details=config.model_dump(mode="json"),
        ),
    )
    write_bundle(
        out / config.name,
        description,
        weights={name: value.detach().cpu().numpy() for name, value in network.state_dict().items()},
        atlas_meshes_ijk=atlas.meshes_ijk,
        atlas_input=image.astype(np.float16),
        replace=True,
    )
    return out / config.name


def _window(image_hu: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Bring the atlas image into [-1, 1]."""
    scaled = (np.clip(image_hu, WINDOW.low, WINDOW.high) - WINDOW.low) * (2 / (WINDOW.high - WINDOW.low)) - 1
    return scaled.astype(np.float32)


def _loader(
    sets: list[CaseSet], network: CoarseToFineNet, frame: CanonicalFrame, config: TrainingConfig, start: int
) -> torch.utils.data.DataLoader[dict[str, torch.Tensor]]:
    """Give the stream of batches of a run that starts at a step."""
    stream = ChangedCases(
        sets,
        config.data.shares,
        grid=frame.grid[0],
        region=(network.first, network.last),
        samples=network.samples,
        points=config.optimiser.points,
        seed=config.seed + start,
        options=AugmentOptions(spacing_mm=frame.spacing_mm, window_hu=(WINDOW.low, WINDOW.high)),
    )
    workers = config.optimiser.workers
    return torch.utils.data.DataLoader(
        stream, batch_size=config.optimiser.batch, num_workers=workers, prefetch_factor=4 if workers else None
    )


class _Report(Callback):
    """Tells how far the training is and how large the errors are."""

    def __init__(self, progress: Callable[[str, float], None], steps: int) -> None:
        super().__init__()
        self.progress, self.steps = progress, steps
        self.before = self.after = float("nan")

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Report a running mean of the errors."""
        values = trainer.callback_metrics
        share = 0.0 if np.isnan(self.after) else 0.98
        self.before = share * np.nan_to_num(self.before) + (1 - share) * float(values["before"])
        self.after = share * np.nan_to_num(self.after) + (1 - share) * float(values["after"])
        text = f"training: {self.before:.2f} mm before, {self.after:.2f} mm after"
        self.progress(text, trainer.global_step / self.steps)
