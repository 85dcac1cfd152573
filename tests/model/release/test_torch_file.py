"""Torch files are read as tensors; nothing in them is run, and no claim of size is believed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.errors import ReleaseError
from model.release.torch_file import read_state_dict, read_tensors

VALUES = torch.arange(12.0).reshape(3, 4)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """Keep the file that the command makes."""
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the command."""
        return os.system, (f"touch '{self.mark}'",)


def records(content: object) -> dict[str, bytes]:
    """Give the records of a torch file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rebuilt(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """Write records as a torch file."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, raw in content.items():
            archive.writestr(name, raw)
    return path


def with_pickle(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """Write a torch file with its pickle changed."""
    content = {
        name: change(raw) if name.endswith("data.pkl") else raw
        for name, raw in records({"model": {"a": VALUES}}).items()
    }
    return rebuilt(path, content)


def test_tensors_come_as_single_precision_and_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    state = {
        "double": VALUES.double(),
        "half": VALUES.half(),
        "brain": VALUES.to(torch.bfloat16),
        "parameter": torch.nn.Parameter(VALUES),
        "count": torch.tensor(7),
    }
    torch.save({"model": state, "optimizer": {"lr": 1e-3}}, path)
    read = read_state_dict(path)
    assert int(read.pop("count").numpy()) == 7
    for tensor in read.values():
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy(), VALUES.numpy())
    assert set(read_tensors(path, "model")) == set(state)


def test_code_in_a_torch_file_is_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "best.pth", tmp_path / "mark"
    argument = f"touch '{mark}'"
    short = b"X" + len(argument).to_bytes(4, "little") + argument.encode()
    programs = (
        pickle.dumps({"model": Hostile(mark)}, 2),
        b"\x80\x02(" + short + b"ios\nsystem\n.",
        b"\x80\x02(cos\nsystem\n" + short + b"o.",
        b"\x80\x02cposix\nsystem\n" + short + b"\x85R.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85\x81.",
        b"\x80\x02ctorch.serialization\nload\n" + short + b"\x85R.",
    )
    for program in programs:
        with_pickle(path, lambda _, program=program: program)  # type: ignore[misc]
        with pytest.raises(ReleaseError, match="nothing in it was run"):
            read_state_dict(path)
        assert not mark.exists()
    for content in ({"model": {"a": Hostile(mark)}}, {"model": {"a": VALUES}, "optimizer": Hostile(mark)}):
        torch.save(content, path)
        with pytest.raises(ReleaseError, match="nothing in it was run"):
            read_state_dict(path)
        assert not mark.exists()
    # The same file does run its command elsewhere, so the test would notice.
    torch.load(path, weights_only=False)
    assert mark.exists()


def test_the_older_format_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    torch.save({"model": {"a": VALUES}}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ReleaseError, match="tensors"):
        read_state_dict(path)


def test_records_that_would_grow_are_refused(tmp_path: Path) -> None:
    content = records({"model": {"a": torch.zeros(2_000_000)}})
    path = rebuilt(tmp_path / "best.pth", content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(ReleaseError, match="tensors"):
        read_state_dict(path)


def test_a_storage_that_claims_more_than_its_record_is_refused(tmp_path: Path) -> None:
    count = b"K\x0ct"  # twelve, the last of the storage's tuple
    path = with_pickle(tmp_path / "best.pth", lambda raw: raw.replace(count, b"J\x00\x00\x00\x40t", 1))
    with pytest.raises(ReleaseError, match="tensors"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**15),
        VALUES.T,
        VALUES.to_sparse(),
        torch.empty(3, device="meta"),
        VALUES.to(torch.complex64),
        VALUES > 3,
    ],
    ids=["repeated", "turned", "sparse", "without values", "complex", "truth values"],
)
def test_other_tensors_are_refused_by_name(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "best.pth"
    torch.save({"model": {"odd": tensor}}, path)
    with pytest.raises(ReleaseError, match=r"odd|tensors"):
        read_state_dict(path)


def test_objects_beside_the_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    content: object
    for content in ({"model": {"a": Path}}, {"model": {"a": 1}}, {"model": [VALUES]}, [VALUES], VALUES, {"other": {}}):
        torch.save(content, path)
        with pytest.raises(ReleaseError, match="tensors"):
            read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"model": 1}, 2), b"PK\x05\x06" + bytes(18)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pth"
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match=r"best\.pth"):
        read_state_dict(path)
