"""Plans are read as nnU-Net writes them, and nothing that a file names is run."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunet_fixtures import make_plans, pickled_content

from model.errors import ReleaseError
from model.release.nnunet.plans import Plans, read_plans

EXPECTED = Plans(
    patch=(8, 12, 16),
    pools=((1, 2, 2), (2, 2, 4)),
    kernels=((1, 3, 3), (3, 3, 3), (3, 1, 3)),
    convolutions=2,
    base_width=4,
    modalities=1,
    classes=3,
    transpose_backward=(1, 2, 0),
    spacing_mm=(0.2, 0.2, 0.2),
)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """Keep the file that the command makes."""
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the command."""
        return os.system, (f"touch '{self.mark}'",)


def store(folder: Path, content: object, protocol: int = 4) -> Path:
    """Pickle something."""
    path = folder / "model_best.model.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def changed(folder: Path, stage: dict[str, Any] | None = None, **plans: Any) -> Path:  # noqa: ANN401
    """Pickle plans of which some values are others."""
    content = make_plans() | plans
    content["plans_per_stage"][0] |= stage or {}
    return store(folder, pickled_content(content))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_plans_of_every_protocol_are_read(tmp_path: Path, protocol: int, core: bytes) -> None:
    path = store(tmp_path, pickled_content(make_plans()), protocol)
    # Text of protocol 4 and later is preceded by its length.
    old = path.read_bytes()
    for name in (b"multiarray", b"numeric"):
        theirs, ours = core + b"." + name, b"numpy._core." + name
        old = old.replace(bytes([len(ours)]) + ours, bytes([len(theirs)]) + theirs).replace(ours, theirs)
    path.write_bytes(old if protocol < 4 or core == b"numpy._core" else without_frames(old))
    assert read_plans(path) == EXPECTED


def without_frames(content: bytes) -> bytes:
    """Drop the frames of a pickle, whose lengths no longer hold."""
    place = content.index(b"\x95")
    return content[:place] + content[place + 9 :]


def test_old_plans_tell_only_how_often_axes_are_halved(tmp_path: Path) -> None:
    content = make_plans()
    stage = content["plans_per_stage"][0] | {"patch_size": [8, 8, 8], "num_pool_per_axis": [1, 3, 2]}
    del stage["pool_op_kernel_sizes"], stage["conv_kernel_sizes"], content["conv_per_stage"]
    del content["transpose_backward"]
    content["plans_per_stage"][0] = stage
    found = read_plans(store(tmp_path, pickled_content(content)))
    assert found.pools == ((1, 2, 1), (1, 2, 2), (2, 2, 2))
    assert (found.kernels, found.convolutions, found.transpose_backward) == (((3, 3, 3),) * 4, 2, (0, 1, 2))


def test_stage_is_that_of_the_trainer(tmp_path: Path) -> None:
    content = make_plans()
    fine = content["plans_per_stage"][0]
    content["plans_per_stage"] = {0: fine | {"patch_size": np.array([16, 16, 16])}, 1: fine}
    saved = pickled_content(content)
    for stage, patch in ((0, (16, 16, 16)), (1, (8, 12, 16))):
        saved["init"] = ("plans.pkl", 0, None, None, True, stage, True, False, True)
        assert read_plans(store(tmp_path, saved)).patch == patch
    saved["init"] = ("plans.pkl", 0, None, None, True, None, True, False, True)
    with pytest.raises(ReleaseError, match="plans of a model"):
        read_plans(store(tmp_path, saved))


def test_other_networks_are_refused(tmp_path: Path) -> None:
    for name in ("nnUNetTrainerV2_ReLU", "nnUNetTrainerV2BraTSRegions", "nnUNetTrainerV2CascadeFullRes"):
        with pytest.raises(ReleaseError, match=f"another kind; .*found {name}"):
            read_plans(store(tmp_path, pickled_content(make_plans(), name)))
    with pytest.raises(ReleaseError, match="3 dimensions"):
        read_plans(changed(tmp_path, {"patch_size": np.array([12, 16])}))


@pytest.mark.parametrize(
    "change",
    [
        {"stage": {"patch_size": [8, 12, 15]}},
        {"stage": {"patch_size": [8, 12, 2**40]}},
        {"stage": {"patch_size": np.array([8.0, 12.5, 16.0])}},
        {"stage": {"patch_size": np.array(["8", "12", "16"])}},
        {"stage": {"pool_op_kernel_sizes": [[1, 2, 2]]}},
        {"stage": {"pool_op_kernel_sizes": []}},
        {"stage": {"conv_kernel_sizes": [[1, 3, 3], [5, 3, 3], [3, 3, 3]]}},
        {"stage": {"current_spacing": [0.2, 0.2, -0.2]}},
        {"transpose_backward": [0, 0, 1]},
        {"num_classes": 0},
        {"num_classes": 256},
        {"num_classes": "2"},
        {"base_num_features": 10**9},
        {"conv_per_stage": 1},
        {"plans_per_stage": {0: {}}},
    ],
)
def test_plans_of_no_network_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ReleaseError, match="expected the plans of a model trained by nnU-Net"):
        read_plans(changed(tmp_path, **change))


def test_code_in_the_plans_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for place in ("num_classes", "list_of_npz_files"):
        content = make_plans() | {place: Hostile(mark)}
        with pytest.raises(ReleaseError, match="nothing in it was run"):
            read_plans(store(tmp_path, pickled_content(content)))
        assert not mark.exists()
    # The same pickle does run its command elsewhere, so the test would notice.
    pickle.loads(pickle.dumps(Hostile(mark)))  # noqa: S301
    assert mark.exists()


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 3000), st.integers(0, 255), st.integers(0, 400))
def test_damaged_plans_are_refused_or_read(tmp_path_factory: Any, place: int, value: int, cut: int) -> None:  # noqa: ANN401
    content = bytearray(pickle.dumps(pickled_content(make_plans()), 4))
    content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content[: len(content) - cut % 20])
    # The changed byte may lie in what is not used; any other failure than the typed one would end the test.
    with contextlib.suppress(ReleaseError):
        read_plans(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"none\.pkl"):
        read_plans(tmp_path / "none.pkl")
