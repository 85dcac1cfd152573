"""What torch raises when memory or device fail becomes an error of its own kind."""

from __future__ import annotations

import pytest
import torch

from model.errors import CochlearError, DeviceFailedError, DeviceMemoryError
from model.inference.device_errors import device_errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), DeviceMemoryError),
        (torch.AcceleratorError("an illegal memory access was encountered"), DeviceFailedError),
    ],
)
def test_device_errors_get_a_type(error: Exception, kind: type[CochlearError]) -> None:
    with pytest.raises(kind), device_errors():
        raise error


def test_memory_that_torch_cannot_get_is_a_memory_error() -> None:
    with pytest.raises(MemoryError), device_errors():
        torch.empty(10**15)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match="must match"), device_errors():
        torch.ones(2) + torch.ones(3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_that_is_full_is_told_and_free_afterwards() -> None:
    free, _ = torch.cuda.mem_get_info()
    with pytest.raises(DeviceMemoryError), device_errors():
        torch.empty(2 * free, dtype=torch.uint8, device="cuda")
    assert torch.ones(4, device="cuda").sum().item() == 4
