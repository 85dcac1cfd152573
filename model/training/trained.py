"""The bundle that a training run ends in, with its card and picture."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.atlas.build import Atlas
from model.bundle.schema import BundleDescription, FrameSection, HuWindow, NetworkSection, TrainingSection
from model.bundle.write import write_bundle
from model.geometry.frame import CanonicalFrame
from model.networks.coarse_to_fine import CoarseToFineNet
from model.outputs.preview import draw_preview
from model.registration.refinement import RefinementOptions
from model.training.card import write_card
from model.training.config import TrainingConfig

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

PICTURE = "atlas.png"


def write_trained(
    network: CoarseToFineNet,
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    out: Path,
    scores: Mapping[str, Any],
) -> Path:
    """Write the bundle of a trained network into a folder of bundles; an earlier one of its name is replaced."""
    image = windowed(atlas.image_hu)
    description = describe(atlas, frame, config, scores)
    write_bundle(
        out / config.name,
        description,
        weights={name: value.detach().cpu().numpy() for name, value in network.state_dict().items()},
        atlas_meshes_ijk=atlas.meshes_ijk,
        atlas_input=image.astype(np.float16),
        extra_files={
            "README.md": write_card(description, atlas.meshes_ijk, PICTURE).encode(),
            PICTURE: _picture(image, atlas),
        },
        replace=True,
    )
    return out / config.name


def describe(
    atlas: Atlas, frame: CanonicalFrame, config: TrainingConfig, scores: Mapping[str, Any]
) -> BundleDescription:
    """Say all about a trained model that its bundle states."""
    return BundleDescription(
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
        # All settings are written out: another version of the program may have other defaults.
        refinement={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(RefinementOptions(**config.refinement)).items()
        },
        frame=FrameSection.model_validate(frame.to_json()),
        intensity=WINDOW,
        training=TrainingSection(
            data=f"{len(atlas.ear_vertices_ijk)} labelled CT of specimens "
            f"({', '.join(sorted(atlas.ear_vertices_ijk))}), the same with simulated electrode arrays, and "
            f"{config.data.synthetic} synthetic ears.",
            citation=CITATION,
            details=config.model_dump(mode="json"),
        ),
        scores=dict(scores),
    )


def windowed(image_hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring an image in HU into [-1, 1] by the window of the trained models."""
    scaled = (np.clip(image_hu, WINDOW.low, WINDOW.high) - WINDOW.low) * (2 / (WINDOW.high - WINDOW.low)) - 1
    return np.asarray(scaled, dtype=np.float32)


def _picture(image: npt.NDArray[np.float32], atlas: Atlas) -> bytes:
    """Draw the atlas: its surfaces on the mean image, and from two sides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PICTURE
        draw_preview(
            image,
            atlas.meshes_ijk,
            path,
            title="Atlas on its mean image",
            subtitle="left ear in the canonical frame",
            footer=CITATION.split(",")[0] + ", Data in Brief 27 (2019) 104782 (CC BY 4.0)",
        )
        return path.read_bytes()
