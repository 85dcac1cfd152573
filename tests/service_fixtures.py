"""A real service for the tests: real Redis, worker and HTTP, with a small real bundle and a small made-up ear."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from benchmarks.small_ear import BUNDLE, Ear, make_ear, small_frame, write_small_bundle
from worker.job_store import JobStore
from worker.jobs import JobRecord

__all__ = ["BUNDLE", "Ear", "make_ear", "small_frame", "write_small_bundle"]
"""Made by the benchmarks as well, and offered here to the tests."""

STALE_S = 3.0
COMMAND = [str(Path(sys.executable).with_name("cochlear"))]
"""The command that is installed beside the interpreter of the tests."""

Json = dict[str, Any]


class Service:
    """`cochlear serve` in a process of its own, running while used as a context manager.

    Args:
        data_dir: its data folder; another service may have used it before.
        checkpoints: folder of bundles.
        environment: further settings.
    """

    def __init__(self, data_dir: Path, checkpoints: Path, **environment: str) -> None:
        """Settle the environment; the service starts on entering."""
        self.data_dir = data_dir
        self.url = ""
        self._lines: queue.Queue[str] = queue.Queue()
        self.log: list[str] = []
        self._environment = {
            **os.environ,
            "COCHLEAR_BUNDLE": BUNDLE,
            "COCHLEAR_CHECKPOINTS": str(checkpoints),
            "COCHLEAR_DEVICE": "cpu",
            "COCHLEAR_STALE_AFTER_S": str(STALE_S),
            "COCHLEAR_DEAF_AFTER_S": "16",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        if "COCHLEAR_REDIS_URL" not in environment:
            self._environment.pop("COCHLEAR_REDIS_URL", None)
        own = f"unix://{data_dir / 'redis' / 'redis.sock'}"
        self.redis_url = self._environment.get("COCHLEAR_REDIS_URL", own)

    def __enter__(self) -> Self:
        """Start it and wait until it says that it is ready."""
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--data-dir", str(self.data_dir)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        deadline = time.monotonic() + 120
        while not self.url:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError("the service does not get ready:\n" + "".join(self.log)) from None
            if not line:
                raise AssertionError("the service ended:\n" + "".join(self.log))
            if "ready at " in line:
                self.url = line.split("ready at ")[1].split()[0]
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self.store = JobStore(self.redis_url, STALE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        if kind is not None:
            sys.stderr.write("".join(self.log[-60:]))
        self.http.close()
        self.store.close()
        self.stop()

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop it with a signal and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the service does not stop:\n" + "".join(self.log)) from None

    def kill(self) -> None:
        """Kill the process that was started, and nothing else."""
        self.process.kill()
        self.process.wait()

    def submit(self, ear: Ear, **fields: str) -> Json:
        """Submit an ear, which must be accepted, and give the job."""
        form = ear.form()
        form["data"].update(fields)
        response = self.http.post("/v1/jobs", **form)
        assert response.status_code == 202, response.text
        return as_json(response)

    def wait_for(self, job_id: str, reached: Callable[[JobRecord], bool], timeout_s: float = 120.0) -> JobRecord:
        """Wait until a record meets a condition."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            record = self.store.get(job_id)
            assert record is not None, "the job is gone"
            if reached(record):
                return record
            time.sleep(0.02)
        raise AssertionError(f"waited in vain: {record}\n" + "".join(self.log[-60:]))

    def wait_until_finished(self, job_id: str) -> JobRecord:
        """Wait until a job has ended."""
        return self.wait_for(job_id, lambda record: record.state.finished)

    def worker_ids(self) -> tuple[int, int]:
        """Give the process ids of the worker and of its pool child."""
        worker = next(child for child in children_of(self.process.pid) if "worker" in _command_of(child))
        return worker, children_of(worker)[0]

    def stored_ids(self) -> set[str]:
        """Give the ids of all jobs that have a record or files, and of uploads that were left."""
        folders = (self.data_dir / "jobs", self.data_dir / "uploads")
        files = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return files | {record.id for record in self.store.page(1000)}

    def _read(self) -> None:
        """Collect what it prints."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put("")


def as_json(response: httpx.Response) -> Json:
    """Give the JSON object of a response."""
    body = response.json()
    assert isinstance(body, dict)
    return body


def children_of(process_id: int) -> list[int]:
    """Give the process ids of the children of a process, all its threads' (Linux)."""
    found = []
    for task in Path(f"/proc/{process_id}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def is_alive(process_id: int) -> bool:
    """Whether a process runs; a zombie that nobody has collected yet does not."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def _command_of(process_id: int) -> str:
    """Give the command line of a process."""
    return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
