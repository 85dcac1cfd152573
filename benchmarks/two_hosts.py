"""Two hosts that compute, one of them cut off in the middle of a job (Linux, root).

Three network namespaces stand for three hosts: in one run Redis (TCP, with a password), an S3 server and HTTP, in the
other two a worker each. The link of the host that computes is taken down. Its job must move to the other host and end
once with all its results, and the worker that was cut off must not harm them when its link is back.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import httpx
from botocore.config import Config

from benchmarks.redis_server import RedisServer
from benchmarks.s3_server import S3Server, s3_server
from benchmarks.small_ear import BUNDLE, Ear, make_ear, write_small_bundle
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState

STALE_S = 4.0
ADDRESS = "10.213.0.1"
CENTRE, HOSTS = "cochlear-0", ("cochlear-1", "cochlear-2")
_INSIDE = "COCHLEAR_TWO_HOSTS_INSIDE"


def why_not() -> str | None:
    """Give why this cannot run here; None when it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    made = subprocess.run(["ip", "netns", "add", "cochlear-probe"], capture_output=True, check=False)  # noqa: S607
    if made.returncode != 0:
        return "the kernel lets no network namespaces be made"
    _ip("netns", "del", "cochlear-probe")
    return None


@contextmanager
def hosts() -> Iterator[None]:
    """Make the three namespaces; the links of both workers lead to the first, and nowhere else."""
    try:
        for name in (CENTRE, *HOSTS):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", CENTRE, "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        for number, name in enumerate(HOSTS, 1):
            _ip("-n", CENTRE, "link", "add", f"to{number}", "type", "veth", "peer", "name", "out", "netns", name)
            _ip("-n", CENTRE, "addr", "add", f"10.213.{number}.1/24", "dev", f"to{number}")
            _ip("-n", CENTRE, "link", "set", f"to{number}", "up")
            _ip("-n", name, "addr", "add", f"10.213.{number}.2/24", "dev", "out")
            set_link(name, up=True)
        yield
    finally:
        for name in (CENTRE, *HOSTS):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)  # noqa: S603, S607


def set_link(name: str, *, up: bool) -> None:
    """Connect a host or cut it off."""
    _ip("-n", name, "link", "set", "out", "up" if up else "down")
    if up:
        _ip("-n", name, "route", "replace", "default", "via", f"10.213.{name[-1]}.1")


def _ip(*words: str) -> None:
    """Run the command ip."""
    subprocess.run(["ip", *words], check=True)  # noqa: S603, S607


class Trial:
    """The service on three hosts, in the namespace of the first.

    Args:
        folder: for all files.
        redis: the server.
        s3: the server.
    """

    def __init__(self, folder: Path, redis: RedisServer, s3: S3Server) -> None:
        """Write a bundle that takes a while."""
        write_small_bundle(folder / "checkpoints", width=16, fineness=2)
        self._began = time.monotonic()
        self._folder = folder
        self.store = JobStore(redis.url, STALE_S)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COCHLEAR_")},
            **s3.environment,
            "COCHLEAR_REDIS_URL": redis.url,
            "COCHLEAR_STORE_URL": f"s3://{s3.bucket}/jobs",
            "COCHLEAR_BUNDLE": BUNDLE,
            "COCHLEAR_CHECKPOINTS": str(folder / "checkpoints"),
            "COCHLEAR_STALE_AFTER_S": str(STALE_S),
            "COCHLEAR_DEAF_AFTER_S": "8",
            "COCHLEAR_DEVICE": "cpu",
            "COCHLEAR_ACCESS": "open",
            "OMP_NUM_THREADS": "1",
        }
        self.events: list[tuple[float, str]] = []

    def say(self, text: str) -> None:
        """Note what happened, with the seconds since the beginning."""
        self.events.append((round(time.monotonic() - self._began, 1), text))
        sys.stdout.write(f"{self.events[-1][0]:7.1f} s  {text}\n")
        sys.stdout.flush()

    def start(self, stack: ExitStack, name: str, *words: str) -> None:
        """Start a part of the service on a host, under a host name of its own."""
        data = self._folder / name
        data.mkdir(exist_ok=True)
        log = stack.enter_context((self._folder / f"{name}.log").open("w"))
        environment = {**self._environment, "COCHLEAR_DATA_DIR": str(data)}
        command = ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]
        cochlear = str(Path(sys.executable).with_name("cochlear"))
        process = subprocess.Popen([*command, cochlear, *words], env=environment, stdout=log, stderr=log)  # noqa: S603
        stack.callback(process.wait)
        stack.callback(process.terminate)

    def wait(self, what: str, reached: object, timeout_s: float = 180.0) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout_s
        while not (callable(reached) and reached()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited in vain: {what}")
            time.sleep(0.1)
        self.say(what)

    def get(self, job_id: str) -> JobRecord:
        """Give the record."""
        record = self.store.get(job_id)
        if record is None:
            raise RuntimeError("the job is gone")
        return record


def run(folder: Path) -> dict[str, object]:
    """Run the trial inside the namespace of the first host; give what was found."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis", 6379, host=ADDRESS))
        s3 = stack.enter_context(s3_server(ADDRESS))
        trial = Trial(folder, redis, s3)
        trial.start(stack, CENTRE, "api", "--port", "8000")
        for name in HOSTS:
            trial.start(stack, name, "worker")
        http = stack.enter_context(httpx.Client(base_url="http://127.0.0.1:8000", timeout=30))
        trial.wait("both workers beat", lambda: len(trial.store.live_workers()) == len(HOSTS))
        trial.wait("the service is ready", lambda: _is_ready(http))
        return _cut_and_look(trial, http, s3, make_ear(folder))


def _cut_and_look(trial: Trial, http: httpx.Client, s3: S3Server, ear: Ear) -> dict[str, object]:
    """Submit a job, cut off the host that computes it, and see what becomes of it."""
    response = http.post("/v1/jobs", **ear.form())
    response.raise_for_status()
    job_id = str(response.json()["id"])
    trial.wait("the job computes", lambda: (trial.get(job_id).stage or "") not in ("", "load"))
    first = str(trial.get(job_id).lease)
    host = first.partition(":")[0]
    set_link(host, up=False)
    trial.say(f"{host} is cut off")
    trial.wait("its job is taken from it", lambda: trial.get(job_id).lease != first)
    trial.wait(
        "the other host has begun it", lambda: trial.get(job_id).attempt == 2 and trial.get(job_id).lease is not None
    )
    second = str(trial.get(job_id).lease)
    trial.wait("the job has ended", lambda: trial.get(job_id).state.finished)
    ended = trial.get(job_id)
    set_link(host, up=True)
    trial.say(f"{host} is back")
    name = first.rpartition(":")[0]
    trial.wait("its worker beats again", lambda: name.partition(":")[0] in str(trial.store.live_workers()))
    # As long as it takes the attempt that was cut off to notice, and more.
    time.sleep(3 * STALE_S)
    after = trial.get(job_id)
    metrics = http.get("/metrics").text.splitlines()
    files = {name: http.get(f"/v1/jobs/{job_id}/results/{name}").status_code for name in after.files}
    found: dict[str, object] = {
        "state": after.state.value,
        "attempts": after.attempt,
        "moved": first.partition(":")[0] != second.partition(":")[0],
        "unchanged_after_return": after == ended,
        "files": len(files),
        "files_served": sum(status == 200 for status in files.values()),
        "ended": [line for line in metrics if line.startswith("cochlear_jobs_ended_total")],
        "result_folders": _result_folders(s3, job_id),
        "seconds_from_cut_to_end": _between(trial, "is cut off", "has ended"),
    }
    again = http.post("/v1/jobs", **ear.form())
    again.raise_for_status()
    trial.wait("a further job has ended", lambda: trial.get(str(again.json()["id"])).state is JobState.SUCCEEDED)
    return found


def _between(trial: Trial, first: str, last: str) -> float:
    """Give the seconds between two events."""
    when = {text: seconds for seconds, text in trial.events}
    begin = next(seconds for text, seconds in when.items() if first in text)
    return round(next(seconds for text, seconds in when.items() if last in text) - begin, 1)


def _result_folders(s3: S3Server, job_id: str) -> int:
    """Count the folders of results that a job has in the store."""
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=s3.environment["AWS_SECRET_ACCESS_KEY"],
        region_name=s3.environment["AWS_REGION"],
        config=Config(s3={"addressing_style": "path"}),
    )
    listed = client.list_objects_v2(Bucket=s3.bucket, Prefix=f"jobs/{job_id}/results-", Delimiter="/")
    keys = client.list_objects_v2(Bucket=s3.bucket, Prefix=f"jobs/{job_id}/results-").get("Contents", [])
    return len({entry["Key"].split("/")[2] for entry in keys}) or len(listed.get("CommonPrefixes", []))


def _is_ready(http: httpx.Client) -> bool:
    """Tell whether the service is ready."""
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> int:
    """Make the hosts, run the trial in the first of them, print what was found as JSON; give 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder for files and logs, which stays")
    keep = parser.parse_args().keep
    if os.environ.get(_INSIDE):
        found = run(Path(os.environ[_INSIDE]))
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        wanted = {"state": "succeeded", "attempts": 2, "moved": True, "unchanged_after_return": True}
        whole = found["files"] == found["files_served"] and found["result_folders"] == 1
        return 0 if whole and all(found[name] == value for name, value in wanted.items()) else 1
    reason = why_not()
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 2
    with tempfile.TemporaryDirectory() as temporary, hosts():
        folder = temporary if keep is None else str(keep.resolve())
        Path(folder).mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, _INSIDE: folder}
        command = ["ip", "netns", "exec", CENTRE, sys.executable, "-m", "benchmarks.two_hosts"]
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
