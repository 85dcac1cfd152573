"""The bundle that a training run ends in, with its card and picture."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from model.atlas.build import Atlas
from model.bundle.schema import BundleDescription, FrameSection, HuWindow, NetworkSection, TrainingSection
from model.bundle.write import write_bundle
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.outputs.preview import draw_preview
from model.registration.refinement_options import RefinementOptions
from model.training.card import scalae_text, write_card
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

ATLAS_TEXT = (
    "The labyrinth is the mean shape of the training ears. The scalae and the modiolus are built along its cochlear "
    "duct from published figures of the human cochlea; vertices carry the angle along the cochlea (`angle_deg`)."
)

PICTURE = "atlas.png"


def write_trained(
    network: nn.Module,
    image: npt.NDArray[np.float32],
    atlas: Atlas,
    frame: CanonicalFrame,
    config: TrainingConfig,
    out: Path,
    scores: Mapping[str, Any],
) -> Path:
    """Write the bundle of a network trained on labelled ears; an earlier one of its name is replaced.

    Args:
        network: the network.
        image: (I, J, K) atlas image in [-1, 1].
        atlas: the atlas that the ears were registered to.
        frame: the canonical frame.
        config: the run.
        out: folder of bundles.
        scores: measured scores, when known.
    """
    description = describe(atlas, frame, config, scores)
    about = [ATLAS_TEXT, scalae_text(atlas.meshes_ijk)]
    footer = CITATION.split(",")[0] + ", Data in Brief 27 (2019) 104782 (CC BY 4.0)"
    return write_network(network, description, atlas.meshes_ijk, image, out, about=about, footer=footer, replace=True)


def write_network(
    network: nn.Module,
    description: BundleDescription,
    meshes_ijk: Mapping[str, SurfaceMesh],
    image: npt.NDArray[np.float32],
    out: Path,
    *,
    about: Sequence[str] = (),
    footer: str = "",
    replace: bool = False,
) -> Path:
    """Write the bundle of a registration network, with its card and a picture of its atlas.

    Args:
        network: the network.
        description: all that the bundle states.
        meshes_ijk: surfaces of the atlas by structure, crop voxels.
        image: (I, J, K) atlas image in [-1, 1].
        out: folder of bundles.
        about: paragraphs of the card on the atlas.
        footer: last line of the picture.
        replace: whether an earlier bundle of that name may be replaced.

    Returns:
        The folder of the bundle.
    """
    write_bundle(
        out / description.name,
        description,
        weights={name: value.detach().cpu().numpy() for name, value in network.state_dict().items()},
        atlas_meshes_ijk=meshes_ijk,
        atlas_input=image.astype(np.float16),
        extra_files={
            "README.md": write_card(description, meshes_ijk, PICTURE, about).encode(),
            PICTURE: _picture(image, meshes_ijk, footer),
        },
        replace=replace,
    )
    return out / description.name


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
            class_name=config.network.class_name, parameters=config.network.parameters(frame.grid[0])
        ),
        # All settings are written out: another version of the program may have other defaults.
        refinement={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(RefinementOptions(**config.refinement)).items()
        },
        frame=FrameSection.model_validate(frame.to_json()),
        intensity=WINDOW,
        training=training_section(atlas, config),
        scores=dict(scores),
    )


def training_section(atlas: Atlas, config: TrainingConfig) -> TrainingSection:
    """Say what a model of labelled and synthetic ears was trained on."""
    return TrainingSection(
        data=f"{len(atlas.ear_vertices_ijk)} labelled CT of specimens "
        f"({', '.join(sorted(atlas.ear_vertices_ijk))}), the same with simulated electrode arrays, and "
        f"{config.data.synthetic} synthetic ears.",
        citation=CITATION,
        details=config.model_dump(mode="json"),
    )


def windowed(image_hu: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring an image in HU into [-1, 1] by the window of the trained models."""
    scaled = (np.clip(image_hu, WINDOW.low, WINDOW.high) - WINDOW.low) * (2 / (WINDOW.high - WINDOW.low)) - 1
    return np.asarray(scaled, dtype=np.float32)


def _picture(image: npt.NDArray[np.float32], meshes_ijk: Mapping[str, SurfaceMesh], footer: str) -> bytes:
    """Draw the atlas: its surfaces on the mean image, and from two sides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PICTURE
        draw_preview(
            image,
            meshes_ijk,
            path,
            title="Atlas on its image",
            subtitle="left ear in the canonical frame",
            footer=footer,
        )
        return path.read_bytes()
