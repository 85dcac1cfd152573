"""What a training run is: one TOML file, checked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.bundle.schema import BUNDLE_NAME
from model.errors import InputError


class _Section(BaseModel):
    """Base of the sections: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(_Section):
    """Which cases the network learns from."""

    synthetic: int = Field(default=400, ge=1, description="Synthetic ears.")
    synthetic_spacing_mm: float = Field(default=0.4, description="Voxel of their images.")
    implant_share: float = Field(default=0.5, ge=0, le=1, description="Share of synthetic ears with an implant.")
    implants_per_ear: int = Field(default=6, ge=1, description="Electrode arrays inserted into each real ear in turn.")
    shares: tuple[float, float, float] = Field(
        default=(0.35, 0.15, 0.5), description="Shares of real, implanted real and synthetic ears in the draws."
    )


class NetworkParameters(_Section):
    """Size of the network; see `model.networks.coarse_to_fine`."""

    samples: int = 48
    widths: tuple[int, ...] = (16, 32, 64)
    finest: int = 1
    passes: int = 2


class OptimiserSection(_Section):
    """How the network is fitted."""

    steps: int = Field(default=5000, ge=1)
    batch: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    stiffness: float = Field(default=0.02, ge=0, description="Weight of the fields' roughness.")
    points: int = Field(default=1250, ge=1, description="Vertices of each structure in every step.")
    single_pass_steps: float = Field(
        default=0.6, ge=0, le=1, description="Share of the steps, from the start, that run the network only once."
    )
    checkpoint_every: int = Field(default=250, ge=1)
    precision: str = Field(default="32-true", description="Lightning's precision, such as bf16-mixed on a GPU.")
    workers: int = Field(default=1, ge=0, description="Processes that make the views.")


class TrainingConfig(_Section):
    """One training run."""

    name: str = Field(pattern=rf"^{BUNDLE_NAME}$", description="Name of the bundle it ends in.")
    version: str = "1.0.0"
    seed: int = 0
    initial: str | None = Field(
        default=None, description="Bundle (name or path) whose weights the network starts from; none: at random."
    )
    data: DataSection = DataSection()
    network: NetworkParameters = NetworkParameters()
    optimiser: OptimiserSection = OptimiserSection()
    refinement: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the refinement at run time that differ from the defaults."
    )


def read_config(path: Path) -> TrainingConfig:
    """Read a run's TOML file.

    Raises:
        InputError: not readable, not TOML, or a value that is not accepted.
    """
    try:
        return TrainingConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError("the configuration cannot be read", expected="a TOML file") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(f"the configuration cannot be used: {error}") from error
