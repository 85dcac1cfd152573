"""The figures that decide on the best checkpoint, on stopping early, on the plateau schedule and on giving up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

VALIDATION_LOSS = "validation_loss"
"""Every module logs it at every validation; smaller is better."""

StepOutput = Tensor | Mapping[str, Any] | None
"""What Lightning hands to callbacks after a training step."""


def step_loss(output: StepOutput) -> float:
    """Give the loss of a training step; a step that gave none has lost it (not a number)."""
    if isinstance(output, Mapping):
        return float(output["loss"])
    return float("nan") if output is None else float(output)
