"""Jobs by the hundred on a service that is broken at random all the while; every accepted job must end once.

    python -m benchmarks.soak --jobs 100 --seed 0 [--out tally.json]

Kills (SIGKILL) pool children, workers, the API with everything it started, and Redis, while jobs wait and run; delivers
messages twice; cancels some jobs; and kills the process that computes a *poison* job each time one begins it. Prints a
tally, and exits with 1 unless every job that was answered 202 ended once: succeeded with all of its files as its record
and manifest state them, failed for a stated reason, or canceled on request. Healthy jobs may fail as `worker-lost` when
chance kills them at every attempt, and for no other reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from benchmarks.published import published_digests_agree
from benchmarks.small_ear import Ear, make_ear, write_small_bundle
from benchmarks.stack import Stack
from worker.jobs import JobRecord, JobState
from worker.queue import JobQueue
from worker.settings import Settings

TARGETS = ("child", "parent", "api", "redis")
_PATIENCE_S = 240.0


@dataclass(frozen=True)
class Plan:
    """What a soak does.

    Attributes:
        jobs: how many jobs to have accepted.
        seed: of all random choices.
        kill_every_s: mean seconds between two kills.
        ends_between_kills: how many jobs must end between two kills, or a slow machine would get nothing done.
        kills: how many kills take the targets in turn; later ones take any.
        poison: how many of the jobs take their worker down at every attempt.
        cancels: how many of the jobs are canceled.
        waiting: how many unfinished jobs there may be before the next is submitted.
    """

    jobs: int
    seed: int = 0
    kill_every_s: float = 6.0
    ends_between_kills: int = 1
    kills: int = 4
    poison: int = 3
    cancels: int = 8
    waiting: int = 8


@dataclass
class Tally:
    """What happened; `verdict` judges it."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    doubled: int = 0
    lost: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether every accepted job ended once, with complete results or a stated and expected failure."""
        wrong = (self.lost, self.incomplete, self.ended_twice, self.unexplained)
        return not any(wrong) and sum(self.ended.values()) == self.accepted

    def to_json(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        values = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        return {**values, "wall_s": round(self.wall_s, 1), "good": self.good}


class Soak:
    """One soak on a running stack.

    Args:
        stack: the service.
        ear: what is submitted.
        plan: what to do.
    """

    def __init__(self, stack: Stack, ear: Ear, plan: Plan) -> None:
        """Draw the roles of the jobs."""
        self._stack = stack
        self._plan = plan
        self._form = ear.form()
        self._random = random.Random(plan.seed)  # noqa: S311  (choices, not secrets)
        special = self._random.sample(range(plan.jobs), plan.poison + plan.cancels)
        self._poison_at, self._cancel_at = set(special[: plan.poison]), set(special[plan.poison :])
        self._queue = JobQueue(Settings(redis_url=stack.redis_url))
        self._open: set[str] = set()
        self._poison: dict[str, str] = {}
        self._to_cancel: dict[str, float] = {}
        self._canceled: set[str] = set()
        self._ends: dict[str, JobRecord] = {}
        self._not_before = 0.0
        self.tally = Tally()

    def run(self) -> Tally:
        """Submit, break and watch until all jobs have ended, then look at what they left."""
        begun = time.monotonic()
        next_kill, progress_at, ended_at_kill = begun + 1.0, begun, -self._plan.ends_between_kills
        while self.tally.accepted < self._plan.jobs or self._open:
            before = (self.tally.accepted, len(self._open))
            self._stack.tend()
            self._submit()
            self._watch()
            if time.monotonic() >= next_kill and len(self._ends) >= ended_at_kill + self._plan.ends_between_kills:
                self._kill()
                ended_at_kill = len(self._ends)
                next_kill = time.monotonic() + self._random.expovariate(1.0) * self._plan.kill_every_s
            if before != (self.tally.accepted, len(self._open)):
                progress_at = time.monotonic()
            if time.monotonic() - progress_at > _PATIENCE_S:
                break
            time.sleep(0.03)
        self._inspect()
        self._queue.close()
        self.tally.wall_s = time.monotonic() - begun
        return self.tally

    def _submit(self) -> None:
        """Submit the next job when few are under way; an answer that is no 202 is tried again."""
        number = self.tally.accepted
        if number >= self._plan.jobs or len(self._open) >= self._plan.waiting or time.monotonic() < self._not_before:
            return
        try:
            response = self._stack.http.post("/v1/jobs", **self._form)
        except httpx.HTTPError:
            self.tally.refused["no answer"] += 1
            self._not_before = time.monotonic() + 0.5
            return
        if response.status_code != 202:
            self.tally.refused[str(response.status_code)] += 1
            self._not_before = time.monotonic() + min(float(response.headers.get("Retry-After", 1)), 1.0)
            return
        job_id = str(response.json()["id"])
        self.tally.accepted += 1
        self._open.add(job_id)
        if number in self._poison_at:
            self._poison[job_id] = ""
        if number in self._cancel_at:
            self._to_cancel[job_id] = time.monotonic() + self._random.uniform(0.0, 4.0)
        if self._random.random() < 0.3:
            self._double(job_id)

    def _watch(self) -> None:
        """Look at the jobs under way: poison bites, some are canceled, those that ended are noted."""
        for job_id in sorted(self._open):
            try:
                record = self._stack.store.get(job_id)
            except RedisError:
                return
            if record is None:
                self.tally.lost.append(job_id)
                self._open.discard(job_id)
                continue
            if record.state.finished:
                self._ends[job_id] = record
                self._open.discard(job_id)
                if self._random.random() < 0.3:
                    self._double(job_id)
                continue
            if job_id in self._poison and record.lease not in (None, self._poison[job_id]):
                self._bite(job_id, record)
            if self._to_cancel.get(job_id, float("inf")) < time.monotonic():
                self._cancel(job_id)

    def _bite(self, job_id: str, record: JobRecord) -> None:
        """Kill the process that has begun a poison job."""
        child = self._stack.child_of_lease(record.lease or "")
        if child is not None and _kill(child):
            self._poison[job_id] = record.lease or ""
            self.tally.kills["poisoned child"] += 1

    def _cancel(self, job_id: str) -> None:
        """Ask for the end of a job; it may have ended by then."""
        try:
            response = self._stack.http.delete(f"/v1/jobs/{job_id}")
        except httpx.HTTPError:
            return
        if response.status_code == 202:
            self._canceled.add(job_id)
            del self._to_cancel[job_id]
        elif response.status_code == 204:
            # It had ended, and is erased now, as its owner may.
            self._to_cancel.pop(job_id)
            self._open.discard(job_id)
            self.tally.ended["erased after its end"] += 1

    def _double(self, job_id: str) -> None:
        """Deliver the message of a job again."""
        try:
            self._queue.send(job_id, "cpu")
            self.tally.doubled += 1
        except (OperationalError, OSError):
            return

    def _kill(self) -> None:
        """Kill one part, the targets in turn at first and at random later."""
        done = sum(self.tally.kills[target] for target in TARGETS)
        target = TARGETS[done % len(TARGETS)] if done < self._plan.kills else self._random.choice(TARGETS)
        there = self._stack.processes()[target]
        if there and _kill(self._random.choice(there)):
            self.tally.kills[target] += 1

    def _inspect(self) -> None:
        """Judge every job by its record and its files, when nothing breaks any more."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._stack.is_ready() and time.monotonic() < deadline:
            self._stack.tend()
            time.sleep(0.2)
        time.sleep(1.0)
        self.tally.lost += sorted(self._open)
        for job_id, end in self._ends.items():
            now = self._stack.store.get(job_id)
            if now != end:
                self.tally.ended_twice.append(job_id)
                continue
            self.tally.ended[end.state.value] += 1
            self.tally.attempts[end.attempt] += 1
            if end.failure is not None:
                self.tally.failed[end.failure.code] += 1
            if not self._is_explained(job_id, end):
                self.tally.unexplained.append(f"{job_id} {end.state} {end.failure}")
            if end.state is JobState.SUCCEEDED and not self._is_complete(job_id, end):
                self.tally.incomplete.append(job_id)

    def _is_explained(self, job_id: str, end: JobRecord) -> bool:
        """Tell whether a job ended as what was done to it allows."""
        if end.state is JobState.CANCELED:
            return job_id in self._canceled
        if end.state is JobState.FAILED:
            return end.failure is not None and end.failure.code == "worker-lost" and end.attempt == 3
        return end.state is JobState.SUCCEEDED

    def _is_complete(self, job_id: str, end: JobRecord) -> bool:
        """Fetch all files of a job over HTTP, and compare them and those on disk with its record."""
        for name, file in end.files.items():
            response = self._stack.http.get(f"/v1/jobs/{job_id}/{name}")
            # Some files are parts of others and have no address of their own.
            if response.status_code != 404 and hashlib.sha256(response.content).hexdigest() != file.sha256:
                return False
        return published_digests_agree(self._stack.data_dir / "jobs" / job_id, end)


def _kill(process_id: int) -> bool:
    """Kill a process; tell whether it was there."""
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def soak(plan: Plan, folder: Path) -> Tally:
    """Make bundle and ear in a folder, start a service there, and soak it."""
    write_small_bundle(folder / "checkpoints")
    ear = make_ear(folder)
    with Stack(folder, folder / "checkpoints") as stack:
        return Soak(stack, ear, plan).run()


def main() -> int:
    """Run one soak and print its tally."""
    parser = argparse.ArgumentParser(description="Soak the service while breaking it.")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=6.0, help="mean seconds between kills")
    parser.add_argument("--out", type=Path, help="JSON file for the tally")
    arguments = parser.parse_args()
    # So that what was started is stopped when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    few = max(1, arguments.jobs // 30)
    plan = Plan(arguments.jobs, arguments.seed, arguments.kill_every, kills=8, poison=few, cancels=2 * few)
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        tally = soak(plan, Path(folder))
        if not tally.good:
            named = {
                text.split()[0] for text in [*tally.lost, *tally.incomplete, *tally.ended_twice, *tally.unexplained]
            }
            lines = (Path(folder) / "service.log").read_text(errors="replace").splitlines()
            sys.stderr.write("\n".join(line for line in lines if any(name in line for name in named)) + "\n")
    text = json.dumps(tally.to_json(), indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    return 0 if tally.good else 1


if __name__ == "__main__":
    sys.exit(main())
