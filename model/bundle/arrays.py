"""Reading `.npz` and safetensors files as what they are declared to be, and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from model.bundle.manifest_file import damaged


@dataclass(frozen=True)
class ArraySpec:
    """What an array must be: its shape (None: any size), and the names of dtypes it may have."""

    shape: tuple[int | None, ...]
    dtypes: tuple[str, ...]


def check_arrays(file: Path, wanted: Mapping[str, ArraySpec], others: ArraySpec | None = None) -> None:
    """Check the headers of the arrays of an `.npz` file, reading none of the values.

    Args:
        file: the file.
        wanted: what must be there.
        others: what any further array must be; None when there may be none.

    Raises:
        DamagedBundleError: an array is missing, too many or of another shape or dtype.
    """
    headers = _headers(file)
    for name, spec in wanted.items():
        if name not in headers:
            raise damaged(file.name, f"arrays {', '.join(headers) or 'none'}", expected=f"an array {name}")
        _check(file.name, name, headers[name], spec)
    for name in set(headers) - set(wanted):
        if others is None:
            raise damaged(file.name, f"an array {name}", expected=f"no arrays but {', '.join(wanted)}")
        _check(file.name, name, headers[name], others)


def array_names(file: Path) -> list[str]:
    """Give the names of the arrays of an `.npz` file.

    Raises:
        DamagedBundleError: the file cannot be read.
    """
    return list(_headers(file))


def read_array(file: Path, name: str) -> npt.NDArray[Any]:
    """Read one array of a checked `.npz` file; pickled objects are refused.

    Raises:
        DamagedBundleError: the values cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(file.name, f"an array {name} that cannot be read") from error


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the tensors of a safetensors file, from its header.

    Raises:
        DamagedBundleError: the file cannot be read.
    """
    try:
        with safe_open(file, framework="np") as tensors:
            # The type stubs know neither method.
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise damaged(file.name, "a file that is not in the safetensors format") from error


def _headers(file: Path) -> dict[str, ArraySpec]:
    """Read shape and dtype of every array."""
    headers = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as stream:
                    version = np.lib.format.read_magic(stream)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _read_header_2_0
                    shape, _, dtype = read(stream)
                headers[entry.removesuffix(".npy")] = ArraySpec(shape, (dtype.name,))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(file.name, "a file that is not in the npz format") from error
    return headers


def _read_header_2_0(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:  # noqa: ANN401
    """Read a header of format version 2.0; numpy refuses any other."""
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = np.lib.format.read_array_header_2_0(stream)
    return header


def _check(file: str, name: str, found: ArraySpec, spec: ArraySpec) -> None:
    """Compare one header with what it must be."""
    fits = len(found.shape) == len(spec.shape) and all(
        wanted in (size, None) for size, wanted in zip(found.shape, spec.shape, strict=True)
    )
    if not fits or found.dtypes[0] not in spec.dtypes:
        raise damaged(
            file,
            f"{name} of shape {_text(found.shape)} and type {found.dtypes[0]}",
            expected=f"shape {_text(spec.shape)} and type {' or '.join(spec.dtypes)}",
        )


def _text(shape: tuple[int | None, ...]) -> str:
    """Give a shape for people."""
    return " x ".join("any" if size is None else str(size) for size in shape)
