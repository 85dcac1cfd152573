"""How long a run is, in steps."""

from __future__ import annotations

from dataclasses import dataclass

from model.training.sections import OptimiserSection, TrainerSection

DEFAULT_STEPS = 5000


@dataclass(frozen=True)
class RunLength:
    """Length of a run.

    Attributes:
        steps: steps of the whole run.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations; at most `steps`, so that there is one.
    """

    steps: int
    checkpoint_every: int
    validate_every: int


def run_length(optimiser: OptimiserSection, trainer: TrainerSection, cases: int) -> RunLength:
    """Give the length of a run over so many training cases; what is asked for in epochs is rounded up to steps."""
    draws = optimiser.batch * trainer.devices
    epoch = -(-cases // draws)
    in_epochs = -(-cases * (optimiser.epochs or 0) // draws)
    steps = in_epochs or optimiser.steps or DEFAULT_STEPS
    return RunLength(steps, trainer.checkpoint_every or epoch, min(trainer.validate_every or epoch, steps))
