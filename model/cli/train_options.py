"""Options of `model-train` that change a configuration, and which options belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from model.errors import OptionError
from model.training.config import TrainingConfig

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Overrides:
    """What the command line says instead of the configuration; None where it says nothing."""

    seed: int | None = None
    epochs: int | None = None
    steps: int | None = None
    device: str | None = None
    precision: str | None = None

    def apply(self, config: TrainingConfig) -> TrainingConfig:
        """Give the configuration with what is overridden; the name of the run stays.

        Raises:
            OptionError: both lengths are given, or a value is not offered.
        """
        if self.epochs is not None and self.steps is not None:
            raise OptionError("the length of a run is stated twice", expected="--epochs or --steps", found="both")
        trainer: dict[str, Any] = {}
        if self.device is not None:
            trainer["accelerator"] = ACCELERATORS[_offered("device", self.device, tuple(ACCELERATORS))]
        if self.precision is not None:
            trainer["precision"] = _offered("precision", self.precision, PRECISIONS)
        sections: dict[str, Any] = config.model_dump(exclude_unset=True, by_alias=True)
        if trainer:
            sections["trainer"] = {**sections.get("trainer", {}), **trainer}
        if self.epochs is not None or self.steps is not None:
            sections["optimiser"] = {
                **sections.get("optimiser", {}),
                "epochs": self.epochs,
                "steps": self.steps,
            }
        if self.seed is not None:
            sections["seed"] = self.seed
        try:
            return TrainingConfig.model_validate(sections)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise OptionError("the options do not fit the configuration", found=first["msg"]) from error


def check_together(crops: Mapping[str, object], ears: Mapping[str, object], ears_only: Mapping[str, object]) -> None:
    """Refuse options of both ways of training, or of neither, or only half of one's.

    Args:
        crops: options that training on crops needs, None where one is not given.
        ears: options that training on labelled ears needs; `--config` serves both.
        ears_only: further options of training on labelled ears.

    Raises:
        OptionError: naming what is missing or too many.
    """
    given = [name for name, value in {**crops, **ears, **ears_only}.items() if value is not None]
    if any(crops.values()):
        wrong = [name for name in given if name in ("--ears", *ears_only)]
        if wrong:
            raise OptionError(
                "there are two ways to train, and options of both are given",
                expected=" and ".join(crops),
                found=", ".join(given),
            )
        needed = crops
    else:
        needed = ears
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise OptionError(
            "options are missing",
            expected="--images and --vertices, or --config and --ears",
            found=", ".join(given) or "none of them",
        )


def _offered(name: str, value: str, values: tuple[str, ...]) -> str:
    """Give a value back when it is offered."""
    if value not in values:
        raise OptionError(f"the {name} is not offered", expected=" or ".join(values), found=ascii(value[:40]))
    return value
