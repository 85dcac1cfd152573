"""Names of devices."""

from __future__ import annotations

import pytest
import torch

from model.device import resolve_device
from model.errors import DeviceError, OptionError


def test_devices_that_are_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == wanted


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:x", "mps", "cuda:0:1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="unknown device"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_not_replaced() -> None:
    with pytest.raises(DeviceError, match="not there"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")
