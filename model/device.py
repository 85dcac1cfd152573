"""The one place that decides on which device a computation runs."""

from __future__ import annotations

import torch

from model.errors import DeviceError, OptionError


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device; `auto` takes a GPU when there is one.

    Raises:
        OptionError: another name.
        DeviceError: a GPU was asked for and is not there; it is never replaced by the CPU in silence.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not number.isdigit()):
        raise OptionError("unknown device", expected="auto, cpu, cuda or cuda:N", found=name[:40], field="device")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(number or 0) >= count:
        raise DeviceError("the GPU asked for is not there", expected=f"one of {count} GPUs", found=name)
    return torch.device(name)
