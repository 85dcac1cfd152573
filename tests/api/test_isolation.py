"""Work in a process of its own: its result, its errors, and its end when it takes too much."""

from __future__ import annotations

import os
import time

import pytest

from api.isolation import Bounds, run_isolated
from api.problems import ServiceError
from model.geometry.landmarks import Landmarks

BOUNDS = Bounds(memory_bytes=2**30, seconds=20)


def test_the_result_comes_back_from_another_process() -> None:
    assert run_isolated(BOUNDS, divmod, 17, 5) == (3, 2)
    assert run_isolated(BOUNDS, os.getpid) != os.getpid()


def test_a_typed_error_comes_back_in_its_own_terms() -> None:
    with pytest.raises(ServiceError) as caught:
        run_isolated(BOUNDS, Landmarks.parse, "[1, 2]")
    assert (caught.value.code, caught.value.field) == ("invalid-landmarks", "landmarks")
    assert caught.value.expected


def test_too_much_memory_is_refused() -> None:
    assert len(run_isolated(BOUNDS, bytearray, 2**28)) == 2**28
    with pytest.raises(ServiceError) as caught:
        run_isolated(BOUNDS, bytearray, 2**31)
    assert caught.value.code == "image-too-large"
    assert caught.value.expected is not None
    assert "1024 MiB" in caught.value.expected


def test_work_that_does_not_end_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        run_isolated(Bounds(2**30, 1), time.sleep, 60)
    assert caught.value.code == "check-took-too-long"
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("end", [os.abort, os._exit])
def test_a_crash_is_told_and_hurts_nobody_else(end: object) -> None:
    with pytest.raises(ServiceError) as caught:
        run_isolated(BOUNDS, end, *([3] if end is os._exit else []))  # type: ignore[arg-type]
    assert caught.value.code == "check-crashed"
    assert run_isolated(BOUNDS, abs, -1) == 1
