"""What a run asks of the machine and of its data, refused before any work is done."""

from __future__ import annotations

import torch

from model.errors import DeviceError, InputError
from model.training.sections import OptimiserSection, TrainerSection


def check_trainer(optimiser: OptimiserSection, trainer: TrainerSection, *, validation: bool) -> None:
    """Refuse a run that this machine cannot compute or that lacks the validation cases it relies on.

    Args:
        optimiser: how the weights are fitted.
        trainer: what it is computed on.
        validation: whether there are validation cases.

    Raises:
        DeviceError: GPUs are asked for that are not there.
        InputError: half precision on a CPU, or a setting that needs validation cases without any; names the key.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if trainer.accelerator == "gpu" and trainer.devices > there:
        raise DeviceError(
            "trainer.devices: there are not as many GPUs", expected=str(trainer.devices), found=str(there)
        )
    if trainer.accelerator == "auto" and there and trainer.devices > there:
        raise DeviceError(
            "trainer.devices: there are not as many GPUs",
            expected=str(trainer.devices),
            found=str(there),
            hint="accelerator cpu starts as many processes on the CPU",
        )
    if trainer.precision == "16-mixed" and (trainer.accelerator == "cpu" or not there):
        raise InputError(
            "trainer.precision: 16-mixed needs a GPU", expected="32-true or bf16-mixed", found=trainer.precision
        )
    if not validation:
        for key, asked in (
            ("trainer.early_stopping", trainer.early_stopping > 0),
            ("optimiser.schedule: plateau", optimiser.schedule == "plateau"),
        ):
            if asked:
                raise InputError(f"{key} needs validation cases", expected="some", found="none")
