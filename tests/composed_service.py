"""The composed service for the tests of the deployment: built, brought up under a name of its own, taken down."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from api.client import CochlearClient, Job

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "cochlear-test"
READY_WITHIN_S = 300.0
JOB_WITHIN_S = 900.0


def why_not() -> str | None:
    """Say why the tests of the deployment cannot run here, None when they can."""
    if os.environ.get("COCHLEAR_DEPLOYMENT_TESTS") != "1":
        return "tests of the deployment take minutes and are asked for by `make deployment-test`"
    if shutil.which("docker") is None:
        return "there is no docker command"
    for command, what in (
        (["docker", "info"], "no Docker engine answers"),
        (["docker", "compose", "version"], "no Compose"),
    ):
        if subprocess.run(command, capture_output=True).returncode:
            return what
    if "PYTHON_IMAGE" not in os.environ and (os.geteuid() != 0 or shutil.which("debootstrap") is None):
        return "base images are not named (PYTHON_IMAGE, REDIS_IMAGE), and making them takes root and debootstrap"
    return None


class Composed:
    """The service of docker-compose.yml, running while used as a context manager.

    Args:
        folder: for secrets and settings.
    """

    def __init__(self, folder: Path) -> None:
        """Settle the settings; containers are made on entering."""
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.seconds: dict[str, float] = {}
        self.settings = {
            "COCHLEAR_PUBLISH": f"127.0.0.1:{self.port}",
            "COCHLEAR_SECRETS": str(folder / "secrets"),
            # A killed worker is found sooner; cores are shared by two workers.
            "COCHLEAR_STALE_AFTER_S": "10",
            "COCHLEAR_MAX_ATTEMPTS": "5",
            "WORKER_CPUS": "1",
        }

    def __enter__(self) -> Self:
        """Build, bring up and wait until it is ready."""
        if "PYTHON_IMAGE" not in os.environ:
            made = self._timed("stand-ins", [str(ROOT / "docker" / "stand-ins.sh")]).stdout
            self.settings.update(dict(line.split("=", 1) for line in made.splitlines()))
        run([str(ROOT / "docker" / "secrets.sh")], self.settings)
        self.down(volumes=True)
        self._timed("build", self._command("build"))
        self.up()
        self.api_key = self.compose("run", "--rm", "keys", "create", "--name", "tests").strip()
        self.client = CochlearClient(self.url, timeout_s=300, api_key=self.api_key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down, data and all."""
        if kind is not None:
            sys.stderr.write(self.compose("logs", "--tail", "80"))
        self.client.__exit__(kind, error, trace)
        self.down(volumes=True)

    def compose(self, *arguments: str) -> str:
        """Run a command of Compose and give what it prints."""
        return run(self._command(*arguments), self.settings).stdout

    def up(self, *arguments: str) -> None:
        """Bring it up and wait until it is ready for jobs."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--wait-timeout", str(int(READY_WITHIN_S)), *arguments)
        self.wait_until_ready()
        self.seconds.setdefault("from up to ready", time.monotonic() - began)

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove the containers; the data with them only when asked."""
        self.compose("--profile", "*", "down", *(["--volumes"] if volumes else []))

    def wait_until_ready(self) -> None:
        """Wait until the service takes jobs and works on them."""

        def ready() -> bool:
            try:
                return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, READY_WITHIN_S, "the service does not get ready")

    def containers(self, service: str) -> list[str]:
        """Give the ids of the running containers of a service."""
        return self.compose("ps", "--quiet", service).split()

    def inside(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, whatever comes of it."""
        return subprocess.run(["docker", "exec", container, *command], capture_output=True, text=True)

    def crash(self, container: str) -> None:
        """Kill every process of a container, as a crash would, so that its restart policy decides what follows."""
        before = started_at(container)
        self.inside(container, "sh", "-c", "kill -9 -1")
        wait_for(lambda: started_at(container) != before, 60, "the container is not started again")

    def job(self, job_id: str) -> Job:
        """Give a job; while the API is away, wait for it."""
        jobs: list[Job] = []

        def got() -> bool:
            try:
                jobs.append(self.client.job(job_id))
            except Exception as error:
                if "service-unreachable" not in getattr(error, "code", ""):
                    raise
                return False
            return True

        wait_for(got, READY_WITHIN_S, "the API does not come back")
        return jobs[-1]

    def wait_for_job(self, job_id: str, reached: Callable[[Job], bool]) -> Job:
        """Wait until a job meets a condition, and give it."""
        seen: list[Job] = []

        def look() -> bool:
            seen.append(self.job(job_id))
            return reached(seen[-1])

        wait_for(look, JOB_WITHIN_S, f"waited in vain: {seen[-1:]}")
        return seen[-1]

    def holder(self, job_id: str) -> str | None:
        """Give the container that runs a job, None when none does."""
        code = (
            "import sys; from worker.job_store import JobStore; from worker.settings import Settings; "
            "record = JobStore(Settings().required_redis_url()).get(sys.argv[1]); print(record.lease or '')"
        )
        lease = self.compose("exec", "--no-TTY", "api", "entrypoint.sh", "python", "-c", code, job_id).strip()
        return lease.partition(":")[0] or None

    def _timed(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command and note how long it takes."""
        began = time.monotonic()
        done = run(command, self.settings)
        self.seconds[name] = time.monotonic() - began
        return done

    def _command(self, *arguments: str) -> list[str]:
        """Give a command of Compose; an .env that lies in the checkout plays no part."""
        empty = self.folder / "settings.env"
        empty.touch()
        return ["docker", "compose", "--project-name", PROJECT, "--env-file", str(empty), *arguments]


def run(command: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done


def started_at(container: str) -> tuple[bool, str]:
    """Tell whether a container runs, and since when."""
    text = run(["docker", "inspect", container, "--format", "{{json .State}}"], {}).stdout
    state: dict[str, Any] = json.loads(text)
    return bool(state["Running"]), str(state["StartedAt"])


def wait_for(reached: Callable[[], bool], within_s: float, otherwise: str) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)
