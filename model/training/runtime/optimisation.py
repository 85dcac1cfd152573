"""Optimisers and learning-rate schedules by their names in the configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from model.training.sections import OptimiserSection


def optimisation(parameters: Iterable[nn.Parameter], section: OptimiserSection, steps: int) -> dict[str, Any]:
    """Give what a Lightning module returns from `configure_optimizers` for a run of `steps`.

    `one_cycle` rises over the warm-up and falls along a cosine (Smith and Topin 2019, as in torch); `cosine` rises
    linearly and falls along a cosine to zero; `constant` rises and stays; `plateau` is left to
    `HalveOnPlateau`, which sees the validations.
    """
    rate = section.learning_rate
    optimiser: torch.optim.Optimizer
    if section.optimiser == "adam":
        optimiser = torch.optim.Adam(parameters, lr=rate)
    else:
        optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=section.weight_decay)
    if section.schedule == "plateau":
        return {"optimizer": optimiser}
    schedule: OneCycleLR | LambdaLR
    if section.schedule == "one_cycle":
        schedule = OneCycleLR(optimiser, max_lr=rate, total_steps=steps + 1, pct_start=section.warm_up)
    else:
        rise = section.warm_up * steps
        falls = section.schedule == "cosine"

        def share(step: int) -> float:
            if step < rise:
                return (step + 1) / (rise + 1)
            return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) if falls else 1.0

        schedule = LambdaLR(optimiser, share)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
