"""Kills every part of the service at every stage of a job: `python -m benchmarks.kill_matrix`.

Each cell of the matrix is one job: it is watched until it reaches the stage, then the part gets SIGKILL, what an init
system would start again is started again, and the job must end well, once, with all of its files.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from redis.exceptions import RedisError

from benchmarks.published import published_digests_agree
from benchmarks.small_ear import Ear, make_ear, write_small_bundle
from benchmarks.stack import Stack
from worker.jobs import JobRecord, JobState

PARTS = ("child", "parent", "api", "redis")
STAGES = ("queued", "load", "check", "resample", "register", "mesh", "mask", "write", "publish")
"""The stages of a job of the small model, which has no refinement."""
_PATIENCE_S = 180.0


@dataclass(frozen=True)
class Cell:
    """What came of one kill.

    Attributes:
        part: what was killed.
        stage: the stage that was waited for.
        hit: the stage that the record was in just before the kill.
        state: how the job ended.
        attempts: how often it was begun.
        complete: whether all files are there, as record and manifest say.
        seconds: from the kill to the end.
    """

    part: str
    stage: str
    hit: str
    state: str
    attempts: int
    complete: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the job ended well, within one further attempt."""
        return self.state == "succeeded" and self.complete and self.attempts <= 2


def run_matrix(folder: Path, cells: Sequence[tuple[str, str]]) -> list[Cell]:
    """Make bundle and ear in a folder, start a service there, and kill it cell by cell.

    Args:
        folder: where everything lies.
        cells: part and stage of each kill.

    Raises:
        RuntimeError: a job does not end, or the service does not get ready again.
    """
    write_small_bundle(folder / "checkpoints")
    ear = make_ear(folder)
    with Stack(folder, folder / "checkpoints", second_worker=False) as stack:
        return [_kill_at(stack, ear, part, stage) for part, stage in cells]


def _kill_at(stack: Stack, ear: Ear, part: str, stage: str) -> Cell:
    """Run one job and kill a part at a stage of it."""
    # A job that still runs keeps the next one in the queue.
    before = [_submit(stack, ear)] if stage == "queued" else []
    job_id = _submit(stack, ear)
    hit = _wait_for_stage(stack, job_id, stage)
    for process_id in stack.processes()[part]:
        os.kill(process_id, signal.SIGKILL)
    begun = time.monotonic()
    record = _wait_for_end(stack, job_id)
    seconds = time.monotonic() - begun
    for other in before:
        _wait_for_end(stack, other)
    _wait_until_ready(stack)
    complete = record.state is JobState.SUCCEEDED and published_digests_agree(stack.data_dir / "jobs" / job_id, record)
    return Cell(part, stage, hit, record.state.value, record.attempt, complete, round(seconds, 1))


def _submit(stack: Stack, ear: Ear) -> str:
    """Submit the ear and give the id of its job."""
    response = stack.http.post("/v1/jobs", **ear.form())
    response.raise_for_status()
    return str(response.json()["id"])


def _wait_for_stage(stack: Stack, job_id: str, stage: str) -> str:
    """Wait until a job is at a stage or past it; give where it is."""
    wanted = STAGES.index(stage)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        record = stack.store.get(job_id)
        if record is None:
            raise RuntimeError("the job is gone")
        now = "queued" if record.state is JobState.QUEUED else record.stage or record.state.value
        if record.state.finished or (now in STAGES and STAGES.index(now) >= wanted):
            return now
        time.sleep(0.001)
    raise RuntimeError(f"the job does not get to {stage}")


def _wait_for_end(stack: Stack, job_id: str) -> JobRecord:
    """Start again what ended, until the job has ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        stack.tend()
        try:
            record = stack.store.get(job_id)
        except RedisError:
            record = None
        if record is not None and record.state.finished:
            return record
        time.sleep(0.05)
    raise RuntimeError("the job does not end")


def _wait_until_ready(stack: Stack) -> None:
    """Wait until jobs are taken again."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        stack.tend()
        if stack.is_ready():
            return
        time.sleep(0.1)
    raise RuntimeError("the service does not get ready again")


def table(cells: Sequence[Cell]) -> str:
    """Give the matrix as a Markdown table: attempts and seconds to the end of each job."""
    lines = ["| killed at | " + " | ".join(PARTS) + " |", "|---" * (len(PARTS) + 1) + "|"]
    for stage in STAGES:
        row = {cell.part: cell for cell in cells if cell.stage == stage}
        shown = [_shown(row[part]) if part in row else "" for part in PARTS]
        lines.append(f"| {stage} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    """Give one cell of the table."""
    late = "" if cell.hit == cell.stage else f", hit at {cell.hit}"
    return f"{'ok' if cell.good else 'WRONG: ' + cell.state}, {cell.attempts} attempt(s), {cell.seconds:.0f} s{late}"


def main() -> int:
    """Kill everything everywhere once and print the table; exit 1 when a job did not end well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file for the cells")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        cells = run_matrix(Path(folder), [(part, stage) for part in PARTS for stage in STAGES])
    print(table(cells))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")
    return 0 if all(cell.good for cell in cells) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, httpx.HTTPError) as error:
        sys.exit(f"error: {error}")
