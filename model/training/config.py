"""What a training run is: one TOML file, checked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from model.bundle.schema import BUNDLE_NAME
from model.errors import InputError
from model.losses.weights import LossWeights
from model.training.crops.options import CropOptions
from model.training.network_sections import AnyNetwork, CoarseToFineParameters, PublishedParameters
from model.training.sections import OptimiserSection, PassesSection, Section, SegmentationSection, TrainerSection

Share = Annotated[float, Field(ge=0)]


class DataSection(Section):
    """Which cases of labelled and synthetic ears the network learns from."""

    synthetic: int = Field(default=400, ge=1, description="Synthetic ears.")
    validation: int = Field(
        default=0, ge=0, description="Synthetic ears held out of training, for validation; the last of them."
    )
    spacing_mm: float = Field(default=0.4, description="Voxel of synthetic and implanted ears.")
    implant_share: float = Field(default=0.5, ge=0, le=1, description="Share of synthetic ears with an implant.")
    implants_per_ear: int = Field(default=6, ge=1, description="Electrode arrays inserted into each real ear in turn.")
    shares: tuple[Share, Share, Share] = Field(
        default=(0.35, 0.15, 0.5), description="Shares of real, implanted real and synthetic ears in the draws."
    )
    points: int = Field(default=1250, ge=1, description="Vertices of each structure in every draw.")

    @field_validator("shares")
    @classmethod
    def _some_share(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        """Refuse shares that are all zero."""
        if sum(shares) == 0:
            raise ValueError("expected at least one share above 0, found none")
        return shares

    @field_validator("spacing_mm")
    @classmethod
    def _rendered(cls, spacing_mm: float) -> float:
        """Refuse voxels that no ear is rendered at."""
        if spacing_mm not in (0.2, 0.4, 0.8):
            raise ValueError("expected 0.2, 0.4 or 0.8 mm")
        return spacing_mm

    @model_validator(mode="after")
    def _some_left(self) -> Self:
        """Refuse to hold out every synthetic ear."""
        if self.validation >= self.synthetic:
            raise ValueError(f"validation: expected less than synthetic, {self.synthetic}, found {self.validation}")
        return self


class TrainingConfig(Section):
    """One training run."""

    name: str = Field(pattern=rf"^{BUNDLE_NAME}$", description="Name of the bundle it ends in.")
    version: str = Field(default="1.0.0", min_length=1)
    seed: int = Field(default=0, ge=0)
    initial: str | None = Field(
        default=None, description="Bundle (name or path) whose weights the network starts from; none: at random."
    )
    data: DataSection = DataSection()
    crops: CropOptions = CropOptions()
    network: AnyNetwork = CoarseToFineParameters()
    loss: LossWeights = Field(default=LossWeights(point_to_point=1.0), description="Losses of a registration network.")
    loss_unit: Literal["mm", "voxel"] = Field(default="mm", description="Unit of the distances in the loss.")
    segmentation: SegmentationSection = SegmentationSection()
    passes: PassesSection = PassesSection()
    optimiser: OptimiserSection = OptimiserSection()
    trainer: TrainerSection = TrainerSection()
    refinement: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the refinement at run time that differ from the defaults."
    )

    @model_validator(mode="after")
    def _belonging_together(self) -> Self:
        """Refuse sections that the network's class would not heed."""
        kind = self.network.class_name
        if kind == "segnet":
            unheeded = ["loss", "loss_unit", "passes", "refinement"]
        else:
            unheeded = ["segmentation"] if kind == "coarse_to_fine" else ["segmentation", "passes"]
        fields = type(self).model_fields
        wrong = [key for key in unheeded if getattr(self, key) != fields[key].get_default(call_default_factory=True)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: expected none for a network of class {kind}")
        return self

    @property
    def sampler(self) -> Literal["trilinear", "published"]:
        """Rule by which the field is read at the vertices, in training and from the bundle."""
        return "published" if isinstance(self.network, PublishedParameters) else "trilinear"


def read_config(path: Path) -> TrainingConfig:
    """Read a run's TOML file.

    Raises:
        InputError: not readable, not TOML, or a value that is not accepted; every such key is named.
    """
    try:
        return TrainingConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError("the configuration cannot be read", expected="a TOML file") from error
    except ValidationError as error:
        raise InputError(f"the configuration cannot be used: {_told(error)}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the configuration cannot be used: {error}") from error


def _told(error: ValidationError) -> str:
    """Name every key that was refused, with the reason and what was found."""
    told = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"[:80]
        reason = problem["msg"].removeprefix("Value error, ")
        told.append(f"{key}: {reason}{found}" if key else reason)
    return "; ".join(told)
