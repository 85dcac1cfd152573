"""A short soak through the code of the long one: jobs end once while everything is killed around them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.soak import Plan, soak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak looks into /proc")
def test_jobs_end_once_while_everything_is_killed_around_them(tmp_path: Path) -> None:
    tally = soak(Plan(jobs=6, kill_every_s=2.0, poison=1, cancels=1), tmp_path)
    assert tally.good, tally.to_json()
    assert tally.accepted == 6
    assert sum(tally.kills.values()) >= 3
