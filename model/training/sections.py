"""How a network is fitted and on what machine: sections of a training run's configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Base of the sections: unknown keys and values that are no number are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OptimiserSection(Section):
    """How the weights are fitted.

    A run has either `steps` or `epochs`; with neither it has 5,000 steps. An epoch is as many draws as there are cases.
    """

    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0, description="Largest step size.")
    weight_decay: float = Field(default=1e-3, ge=0, description="Of AdamW; Adam takes none.")
    schedule: Literal["one_cycle", "cosine", "constant", "plateau"] = Field(
        default="one_cycle", description="How the learning rate goes over the steps; plateau needs validation cases."
    )
    warm_up: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    plateau_patience: int = Field(default=10, ge=0, description="Validations without gain before plateau halves it.")
    steps: int | None = Field(default=None, ge=1, description="Steps of the run.")
    epochs: int | None = Field(default=None, ge=1, description="Epochs of the run.")
    batch: int = Field(default=2, ge=1, description="Cases in a step, on every device.")
    clip: float = Field(default=1.0, ge=0, description="Largest norm of the gradient; 0 leaves it alone.")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        """Refuse two lengths, and what the chosen optimiser or schedule would not heed."""
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"expected steps or epochs, found both: steps={self.steps}, epochs={self.epochs}")
        if self.optimiser == "adam" and self.weight_decay > 0 and "weight_decay" in self.model_fields_set:
            raise ValueError(f"weight_decay: expected 0 with optimiser adam, found {self.weight_decay}")
        if self.schedule == "one_cycle" and self.warm_up == 0:
            raise ValueError("warm_up: expected more than 0 with schedule one_cycle, found 0")
        if self.schedule == "plateau" and self.warm_up > 0 and "warm_up" in self.model_fields_set:
            raise ValueError(f"warm_up: expected 0 with schedule plateau, found {self.warm_up}")
        return self


class TrainerSection(Section):
    """What the run is computed on, and what it keeps."""

    accelerator: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="auto: a GPU where there is one.")
    devices: int = Field(default=1, ge=1, description="GPUs, or processes on the CPU; each has its own cases.")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="Arithmetic of the network; losses are always float32. 16-mixed needs a GPU."
    )
    checkpoint_every: int = Field(default=250, ge=0, description="Steps between checkpoints; 0: after every epoch.")
    validate_every: int = Field(default=0, ge=0, description="Steps between validations; 0: after every epoch.")
    early_stopping: int = Field(default=0, ge=0, description="Validations without gain before the run stops; 0: never.")
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="Decay of the moving average of the weights; 0: none is kept."
    )
    picture_every: int = Field(default=1, ge=0, description="Validations between pictures; 0: none.")
    workers: int = Field(default=1, ge=0, description="Processes that prepare the cases.")
    deterministic: bool = Field(
        default=False, description="Ask for the same sums on every run on a GPU, at some cost; a CPU gives them anyway."
    )


class PassesSection(Section):
    """How the passes of a coarse-to-fine network are trained."""

    single: float = Field(
        default=0.6, ge=0, le=1, description="Share of the steps, from the start, that run the network only once."
    )
    earlier_weight: float = Field(default=0.5, ge=0, description="Weight of the losses after all but the last pass.")
    stiffness: float = Field(default=0.02, ge=0, description="Weight of the roughness of the fields.")


class SegmentationSection(Section):
    """Weights of the losses of a segmentation network."""

    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _some_loss(self) -> Self:
        """Refuse weights that are all zero."""
        if self.dice == self.cross_entropy == 0:
            raise ValueError("dice, cross_entropy: expected at least one weight above 0, found none")
        return self
