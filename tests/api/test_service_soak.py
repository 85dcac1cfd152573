"""A short soak through the code of the long one: jobs end once while everything is killed around them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.kill_matrix import run_matrix
from benchmarks.soak import Plan, soak

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak looks into /proc")


def test_jobs_end_once_while_everything_is_killed_around_them(tmp_path: Path) -> None:
    tally = soak(Plan(jobs=6, kill_every_s=2.0, poison=1, cancels=1), tmp_path)
    assert tally.good, tally.to_json()
    assert tally.accepted == 6
    assert sum(tally.kills.values()) >= 3


def test_a_part_killed_at_a_stage_costs_an_attempt_at_most(tmp_path: Path) -> None:
    cells = run_matrix(tmp_path, [("child", "write"), ("parent", "mask"), ("api", "queued")])
    assert all(cell.good for cell in cells), cells
    assert [cell.attempts for cell in cells[:2]] == [2, 2]
