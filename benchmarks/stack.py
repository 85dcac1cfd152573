"""A whole service in processes of its own that may be killed part by part, and an operator who starts it again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from benchmarks.small_ear import BUNDLE
from worker.job_store import JobStore
from worker.processes import die_with_parent

STALE_S = 5.0
_COMMAND = str(Path(sys.executable).with_name("cochlear"))


class Stack:
    """`cochlear serve` and a second `cochlear worker` on its Redis server (Linux: it looks into /proc).

    Args:
        folder: where everything lies; the log too.
        checkpoints: folder of bundles with the small one; None takes the shipped model.
        second_worker: whether to run one.
        **settings: further `COCHLEAR_*` variables.
    """

    def __init__(self, folder: Path, checkpoints: Path | None, *, second_worker: bool = True, **settings: str) -> None:
        """Settle places and settings."""
        self.data_dir = folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.redis_url = f"unix://{self.data_dir / 'redis' / 'redis.sock'}"
        self.store = JobStore(self.redis_url, STALE_S)
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("COCHLEAR_")}
        self._environment |= {
            "COCHLEAR_DEVICE": "cpu",
            "COCHLEAR_STALE_AFTER_S": str(STALE_S),
            "OMP_NUM_THREADS": "1",
        }
        if checkpoints is not None:
            self._environment |= {"COCHLEAR_BUNDLE": BUNDLE, "COCHLEAR_CHECKPOINTS": str(checkpoints)}
        self._environment |= settings
        self._log: IO[bytes] = (folder / "service.log").open("ab")
        self._serve: subprocess.Popen[bytes] | None = None
        self._second: subprocess.Popen[bytes] | None = None
        self._wants_second = second_worker

    def __enter__(self) -> Self:
        """Start everything and wait until jobs are taken."""
        self.tend()
        deadline = time.monotonic() + 240
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError("the service does not get ready")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        for process in (self._second, self._serve):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.http.close()
        self.store.close()
        self._log.close()

    def tend(self) -> bool:
        """Start what has ended, as an operator or init system would; tell whether anything had."""
        started = False
        if self._serve is None or self._serve.poll() is not None:
            arguments = ["serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
            self._serve, started = self._start(arguments, {}), True
        if self._wants_second and (self._second is None or self._second.poll() is not None):
            arguments = ["worker", "--data-dir", str(self.data_dir)]
            self._second, started = self._start(arguments, {"COCHLEAR_REDIS_URL": self.redis_url}), True
        return started

    def is_ready(self) -> bool:
        """Tell whether the service says that jobs are taken and worked on."""
        try:
            return self.http.get("/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def process_id(self) -> int:
        """The process that answers requests, which `cochlear serve` is itself."""
        if self._serve is None:
            raise RuntimeError("the service was not started")
        return self._serve.pid

    def processes(self) -> dict[str, list[int]]:
        """Give the ids of the living processes by part: `api`, `redis`, `parent` and `child` of workers."""
        found: dict[str, list[int]] = {"api": [], "redis": [], "parent": [], "child": []}
        parents = []
        if self._serve is not None and self._serve.poll() is None:
            found["api"].append(self._serve.pid)
            for child in children_of(self._serve.pid):
                if "redis" in command_of(child) or "valkey" in command_of(child):
                    found["redis"].append(child)
                elif "worker" in command_of(child):
                    parents.append(child)
        if self._second is not None and self._second.poll() is None:
            parents.append(self._second.pid)
        found["parent"] = parents
        found["child"] = [child for parent in parents for child in children_of(parent)]
        return found

    def child_of_lease(self, lease: str) -> int | None:
        """Give the pool child of the worker that holds a job."""
        parent = int(lease.split(":")[1])
        return next(iter(children_of(parent)), None)

    def _start(self, arguments: list[str], further: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start one command."""
        return subprocess.Popen(  # noqa: S603  (our own command)
            [_COMMAND, *arguments],
            env={**self._environment, **further},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )


@contextmanager
def shipped(**settings: str) -> Iterator[Stack]:
    """Run a service with the shipped model, one worker and no limit to rates, in a folder that is erased afterwards.

    Args:
        **settings: further `COCHLEAR_*` variables.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Stack(
            Path(folder), None, second_worker=False, **{"COCHLEAR_MAX_REQUESTS_PER_S": "100000", **settings}
        ) as stack,
    ):
        yield stack


def children_of(process_id: int) -> list[int]:
    """Give the process ids of the children of a process, those of all its threads; none when it has ended."""
    found = []
    try:
        for task in Path(f"/proc/{process_id}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        return []
    return found


def command_of(process_id: int) -> str:
    """Give the command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
