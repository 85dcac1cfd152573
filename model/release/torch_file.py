"""Reading the torch files of the published release without running what they hold.

A torch file is a ZIP archive of one pickle and one record per storage. torch's own reader runs the pickle with an
allowlist (`weights_only`), so nothing that it names is executed. What it does not bound is checked here: records that
are compressed, and tensors that claim more values than there are, could otherwise fill the memory.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import ReleaseError
from model.release.numpy_records import stand_ins

_MAX_BYTES = 2 * 2**30
_KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)

_LOAD_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
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

    Returns:
        See `read_tensors`.

    Raises:
        ReleaseError: the file is missing, damaged, too large, holds anything else or values that are not finite.
    """
    return read_tensors(path / "checkpoints" / "best.pth" if path.is_dir() else path, "model")


def read_tensors(file: Path, key: str, *, old_format: bool = False) -> dict[str, Tensor]:
    """Read the tensors that a torch file holds under a key.

    Only tensors, plain containers and numpy's scalars (of which records are kept, see `numpy_records`) are read, so
    nothing in the file is executed.

    Args:
        file: the file.
        key: where it has the tensors.
        old_format: whether files of before torch 1.6, which are no ZIP archive, are read too.

    Returns:
        Contiguous CPU tensors by name: float32, and int64 where the file has it.

    Raises:
        ReleaseError: the file is missing, damaged, too large, holds anything else or values that are not finite.
    """
    if not file.is_file():
        raise ReleaseError(
            "the weights are missing",
            expected="a file best.pth, or the folder of its experiment with checkpoints/best.pth",
            found=f"no file {file.name}",
        )
    content = _load(file, old_format)
    state = content.get(key) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReleaseError("the weights cannot be used", expected=f'tensors under "{key}"', found="something else")
    return {str(name): _plain(str(name), tensor) for name, tensor in state.items()}


def _load(file: Path, old_format: bool) -> Any:  # noqa: ANN401
    """Read a torch file as tensors and plain containers."""
    if file.stat().st_size > _MAX_BYTES:
        raise ReleaseError(f"{file.name} is too large", expected=f"at most {_MAX_BYTES} bytes")
    try:
        if not old_format or zipfile.is_zipfile(file):
            _check_archive(file)
        with torch.serialization.safe_globals([(item, ".".join(name)) for name, item in stand_ins().items()]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except _LOAD_ERRORS as error:
        raise ReleaseError(
            "the weights cannot be read",
            expected="a torch file of tensors",
            found=f"{type(error).__name__} while reading {file.name}",
            hint="fetch the file again; one that holds more than tensors is refused, and nothing in it was run",
        ) from error


def _check_archive(file: Path) -> None:
    """Refuse other formats than torch's ZIP archive, and records that would grow when they are read."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ValueError("compressed records")
    if sum(record.file_size for record in records) > file.stat().st_size:
        raise ValueError("records that overlap")


def _plain(name: str, tensor: Tensor) -> Tensor:
    """Give a tensor as the network takes it, or refuse it."""
    # A view that repeats its values, or that has none, could claim any size.
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not dense or tensor.dtype not in _KINDS or not tensor.is_contiguous():
        kind = f"{tensor.dtype} on {tensor.device}".removeprefix("torch.")
        raise ReleaseError(f"the tensor {name} cannot be used", expected="plain numbers, each stored once", found=kind)
    if not torch.isfinite(tensor).all():
        raise ReleaseError("the weights cannot be used", expected="finite values", found=f"NaN or infinity in {name}")
    kept = tensor.detach()
    return kept.clone() if kept.dtype == torch.int64 else kept.to(torch.float32, copy=True)
