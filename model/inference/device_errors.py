"""What torch raises when memory or device let a computation down, as typed errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.errors import DeviceFailedError, DeviceMemoryError

_NO_MEMORY = "can't allocate memory"
"""How torch says that the machine's memory ran out, for which it has no class of its own."""


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn what torch raises when memory or device fail in the block into typed errors.

    Raises:
        DeviceMemoryError: the device ran out of memory.
        DeviceFailedError: the device failed; a CUDA context does not recover from that.
        MemoryError: the memory of the machine ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise DeviceMemoryError("the device ran out of memory", hint="retry later, or use a smaller image") from error
    except torch.AcceleratorError as error:
        raise DeviceFailedError("the device failed in the middle of a computation", hint="retry later") from error
    except RuntimeError as error:
        if _NO_MEMORY in str(error):
            raise MemoryError("the machine ran out of memory") from error
        raise
