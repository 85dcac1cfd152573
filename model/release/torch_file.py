"""Reading the torch files of the published release without running what they hold."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import torch
from torch import Tensor

from model.errors import ReleaseError
from model.release.numpy_records import stand_ins

_LOAD_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""All that torch raises on files that are not as it writes them."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the network's tensors of `best.pth`: a torch file `{"model": state dict, "optimizer": ...}`.

    Args:
        path: the file, or the folder of the experiment that holds `checkpoints/best.pth`.

    Raises:
        ReleaseError: the file is missing, damaged, holds anything else or values that are not finite.
    """
    return read_tensors(path / "checkpoints" / "best.pth" if path.is_dir() else path, "model")


def read_tensors(file: Path, key: str) -> dict[str, Tensor]:
    """Read the tensors that a torch file holds under a key.

    Only tensors, plain containers and numpy's scalars (of which records are kept, see `numpy_records`) are read, so
    nothing in the file is executed.

    Raises:
        ReleaseError: the file is missing, damaged, holds anything else or values that are not finite.
    """
    if not file.is_file():
        raise ReleaseError("the weights are missing", expected=file.name, hint="name the experiment's folder or file")
    try:
        with torch.serialization.safe_globals([(item, ".".join(name)) for name, item in stand_ins().items()]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except _LOAD_ERRORS as error:
        raise ReleaseError(
            "the weights cannot be read",
            expected="a torch file of tensors",
            found=f"{type(error).__name__} while reading {file.name}",
            hint="fetch the file again; files that hold more than tensors are refused",
        ) from error
    state = content.get(key) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReleaseError("the weights cannot be used", expected=f'tensors under "{key}"', found="something else")
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ReleaseError("the weights cannot be used", expected="finite values", found=f"NaN in {name}")
    return {str(name): tensor for name, tensor in state.items()}
