"""Sends mutated uploads to a service and watches what becomes of it: `python -m benchmarks.attack.uploads`."""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.attack.body_mutations import CONTENT_TYPE, mutate_body
from benchmarks.attack.ear import plain_ear
from benchmarks.attack.nifti_mutations import mutate
from benchmarks.attack.processes import MemoryWatch
from benchmarks.stack import shipped

_log = logging.getLogger(__name__)

_CLIENTS = 4


@dataclass
class Outcome:
    """What came of all uploads.

    Attributes:
        answers: number of answers by mutation and HTTP status.
        problems: number of answers by problem type.
        wrong: seeds and what was wrong with the answer.
        slowest_s: longest time until an answer.
        peak_service_bytes: most memory the service's own process held.
        peak_check_bytes: most memory one process that checks an upload held.
        left: files or folders left although their job is erased or was never accepted.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_service_bytes: int = 0
    peak_check_bytes: int = 0
    left: list[str] = field(default_factory=list)


def attack(
    url: str,
    process_id: int,
    data_dir: Path,
    image: bytes,
    landmarks: str,
    seeds: range,
    until: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Send one mutated upload per seed, four at a time, and erase every job that was accepted.

    Args:
        url: address of the service.
        process_id: its process, whose memory is watched with that of its children.
        data_dir: its data folder.
        image: a good image, gzipped.
        landmarks: landmarks that go with it.
        seeds: one upload each; every fifth has a mutated body instead of a mutated image.
        until: asked before each upload whether the rest shall be left out.
    """
    outcome, lock, raw = Outcome(), threading.Lock(), gzip.decompress(image)
    accepted: list[str] = []
    before = _kept(data_dir)

    def send(seed: int) -> None:
        if until():
            return
        name, answer, seconds = _send(http, raw, image, landmarks, seed)
        with lock:
            _judge(outcome, seed, name, answer, seconds)
            if outcome.answers.total() % 100 == 0:
                _log.info("%d uploads, %d wrong", outcome.answers.total(), len(outcome.wrong))
        if answer.status_code == 202:
            address = answer.json()["links"]["self"]
            accepted.append(address)
            http.delete(address)

    clients = httpx.Client(base_url=url, timeout=180)
    with clients as http, MemoryWatch(process_id) as watch:
        with ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(send, seeds))
        for address in accepted:
            _erase(http, address)
    outcome.peak_service_bytes, outcome.peak_check_bytes = watch.own_bytes, watch.child_bytes
    outcome.left = sorted(_kept(data_dir) - before)
    return outcome


def _send(http: httpx.Client, raw: bytes, image: bytes, landmarks: str, seed: int) -> tuple[str, httpx.Response, float]:
    """Send the upload of a seed; give its mutation, the answer and the time that took."""
    if seed % 5 == 0:
        name, body = mutate_body(image, landmarks.encode(), seed)
        begun = time.perf_counter()
        answer = http.post("/v1/jobs", content=body, headers={"Content-Type": CONTENT_TYPE})
    else:
        name, content = mutate(raw, seed)
        begun = time.perf_counter()
        answer = http.post("/v1/jobs", files={"image": content}, data={"landmarks": landmarks})
    return name, answer, time.perf_counter() - begun


def _judge(outcome: Outcome, seed: int, name: str, answer: httpx.Response, seconds: float) -> None:
    """Note an answer and what is wrong with it."""
    outcome.answers[name, answer.status_code] += 1
    outcome.slowest_s = max(outcome.slowest_s, seconds)
    if answer.status_code == 202:
        return
    if answer.status_code not in (400, 408, 413, 415, 422):
        outcome.wrong.append(f"seed {seed} ({name}): HTTP {answer.status_code}")
    elif answer.headers.get("content-type") != "application/problem+json":
        outcome.wrong.append(f"seed {seed} ({name}): no problem document")
    else:
        outcome.problems[answer.json()["type"]] += 1


def _erase(http: httpx.Client, address: str) -> None:
    """Cancel a job and erase it once its worker has let go of it."""
    for _ in range(600):
        answer = http.delete(address)
        if answer.status_code in (204, 404):
            return
        time.sleep(0.1)
    raise RuntimeError("a job could not be erased within a minute")


def _kept(data_dir: Path) -> set[str]:
    """Give what is kept of uploads and jobs."""
    folders = (data_dir / "uploads", data_dir / "jobs")
    return {f"{folder.name}/{path.name}" for folder in folders if folder.is_dir() for path in folder.iterdir()}


def report(outcome: Outcome) -> str:
    """Give the figures as text."""
    statuses = Counter(status for (_, status), count in outcome.answers.items() for _ in range(count))
    lines = [
        f"uploads {statuses.total()}, by status {dict(sorted(statuses.items()))}",
        "refused as " + ", ".join(f"{kind.rpartition('/')[2]} {n}" for kind, n in outcome.problems.most_common()),
        f"slowest answer {outcome.slowest_s:.1f} s",
        f"peak memory: service {outcome.peak_service_bytes / 2**20:.0f} MiB, one check "
        f"{outcome.peak_check_bytes / 2**20:.0f} MiB",
        f"left behind {len(outcome.left)}, wrong answers {len(outcome.wrong)}",
    ]
    return "\n".join([*lines, *outcome.wrong[:20], *outcome.left[:20]])


def main() -> None:
    """Attack a service of its own and print the figures, when interrupted too; exit 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="uploads to send")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first upload")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with shipped() as service:
        image, landmarks = plain_ear()
        seeds = range(arguments.seed, arguments.seed + arguments.count)
        begun = time.perf_counter()
        outcome = attack(service.url, service.process_id, service.data_dir, image, landmarks, seeds, ended.is_set)
        ready = httpx.get(f"{service.url}/readyz").status_code
    print(report(outcome))
    print(f"{time.perf_counter() - begun:.0f} s in all; afterwards /readyz answers {ready}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**vars(outcome), "answers": _plain(outcome.answers)}, indent=1))
    sys.exit(bool(outcome.wrong or outcome.left or ready != 200))


def _plain(answers: Counter[tuple[str, int]]) -> dict[str, int]:
    """Give the answers with keys that JSON takes."""
    return {f"{name} {status}": count for (name, status), count in sorted(answers.items())}


if __name__ == "__main__":
    main()
