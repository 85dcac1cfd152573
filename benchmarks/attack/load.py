"""Many clients at once: `python -m benchmarks.attack.load`.

Status polls of many clients while the worker is idle and while it computes, polls while slow uploads hang, and many
uploads at the same moment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.attack.ear import plain_ear
from benchmarks.attack.processes import MemoryWatch, cpu_seconds
from benchmarks.stack import Stack, shipped

_BOUNDARY = "b0undary"


@dataclass(frozen=True)
class Polls:
    """What came of polling.

    Attributes:
        name: under which circumstances.
        requests: answers that came.
        per_second: answers a second.
        median_ms: median time to an answer.
        p99_ms: its 99th percentile.
        cpu_ms: time on the processor that the process that answers took for each answer, with all else it did.
        wrong: number of answers that were no 200 by status, and of requests without an answer by error.
    """

    name: str
    requests: int
    per_second: float
    median_ms: float
    p99_ms: float
    cpu_ms: float
    wrong: dict[str, int]


@dataclass(frozen=True)
class Uploads:
    """What came of uploads at the same moment.

    Attributes:
        statuses: number of answers by HTTP status; 0 for none.
        median_s: median time to an answer.
        slowest_s: longest time to an answer.
        jobs: number of different jobs that were made.
        peak_service_mib: most memory the service's own process held.
        peak_check_mib: most memory one process that checks an upload held.
    """

    statuses: dict[int, int]
    median_s: float
    slowest_s: float
    jobs: int
    peak_service_mib: float
    peak_check_mib: float


async def poll(service: Stack, addresses: list[str], clients: int, seconds: float, name: str) -> Polls:
    """Have clients ask for the status of jobs, each again as soon as it is answered.

    Args:
        service: the service.
        addresses: the jobs, which the clients share.
        clients: how many ask at once, each on a connection of its own.
        seconds: for how long.
        name: of the circumstances.
    """
    times: list[float] = []
    wrong: Counter[str] = Counter()
    before = cpu_seconds(service.process_id)
    until = time.perf_counter() + seconds

    async def client(number: int, http: httpx.AsyncClient) -> None:
        while time.perf_counter() < until:
            begun = time.perf_counter()
            try:
                answer = await http.get(addresses[number % len(addresses)])
            except httpx.HTTPError as error:
                wrong[type(error).__name__] += 1
                continue
            times.append(time.perf_counter() - begun)
            if answer.status_code != 200:
                wrong[str(answer.status_code)] += 1

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as http:
        await asyncio.gather(*(client(number, http) for number in range(clients)))
    took = time.perf_counter() - until + seconds
    median, p99 = map(float, np.percentile(np.array(times) * 1000.0, [50, 99]))
    cpu = 1000.0 * (cpu_seconds(service.process_id) - before) / len(times)
    rate = round(len(times) / took, 1)
    return Polls(name, len(times), rate, round(median, 1), round(p99, 1), round(cpu, 1), dict(wrong))


async def upload(url: str, process_id: int, ear: tuple[bytes, str], count: int) -> tuple[Uploads, list[str]]:
    """Send uploads at the same moment; give the figures and the addresses of the jobs."""
    statuses: Counter[int] = Counter()
    times, addresses = [], []

    async def send(http: httpx.AsyncClient) -> None:
        begun = time.perf_counter()
        try:
            answer = await http.post("/v1/jobs", files={"image": ear[0]}, data={"landmarks": ear[1]})
        except httpx.HTTPError:
            statuses[0] += 1
            return
        times.append(time.perf_counter() - begun)
        statuses[answer.status_code] += 1
        if answer.status_code == 202:
            addresses.append(answer.headers["location"])

    limits = httpx.Limits(max_connections=count)
    with MemoryWatch(process_id) as watch:
        async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as http:
            await asyncio.gather(*(send(http) for _ in range(count)))
    figures = Uploads(
        dict(statuses),
        round(float(np.median(times)), 2),
        round(max(times), 2),
        len(set(addresses)),
        round(watch.own_bytes / 2**20),
        round(watch.child_bytes / 2**20),
    )
    return figures, addresses


async def trickle(url: str, stop: asyncio.Event) -> None:
    """Send an upload at the pace of a bad connection, just fast enough to be borne, until told to stop."""

    async def body() -> object:
        yield (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'.encode()
            + b"\x1f\x8b"
        )
        while not stop.is_set():
            yield bytes(4096)
            await asyncio.sleep(0.5)

    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    async with httpx.AsyncClient(base_url=url, timeout=300) as http:
        try:
            await http.post("/v1/jobs", content=body(), headers=headers)  # type: ignore[arg-type]
        except httpx.HTTPError:
            return


async def measure(
    service: Stack,
    ear: tuple[bytes, str],
    clients: int,
    seconds: float,
    count: int,
    note: Callable[[str], None],
) -> tuple[list[Polls], Uploads]:
    """Take all figures, one after the other."""
    first, addresses = await upload(service.url, service.process_id, ear, 1)
    note(f"one upload: {first}")
    async with httpx.AsyncClient(base_url=service.url, timeout=90) as http:
        while (await http.get(addresses[0], params={"wait": 60})).json()["state"] in ("queued", "running"):
            pass
        found = [await poll(service, addresses, clients, seconds, "worker idle")]
        note(str(found[-1]))
        uploads, jobs = await upload(service.url, service.process_id, ear, count)
        note(str(uploads))
        found.append(await poll(service, jobs, clients, seconds, "worker busy"))
        note(str(found[-1]))
        stop = asyncio.Event()
        slow = [asyncio.create_task(trickle(service.url, stop)) for _ in range(50)]
        await asyncio.sleep(1)
        found.append(await poll(service, jobs, clients, seconds, "worker busy, 50 slow uploads"))
        note(str(found[-1]))
        stop.set()
        await asyncio.gather(*slow)
        for address in jobs:
            await http.delete(address)
    return found, uploads


def main() -> None:
    """Take the figures of a service of its own and print them; exit 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--uploads", type=int, default=50, help="uploads at the same moment")
    parser.add_argument("--ear", type=Path, help="NIfTI file to submit; made up when absent")
    parser.add_argument("--landmarks", type=Path, help="its landmarks")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    ear = plain_ear()
    if arguments.ear is not None:
        ear = arguments.ear.read_bytes(), arguments.landmarks.read_text()
    with shipped() as service:
        polls, uploads = asyncio.run(
            measure(
                service,
                ear,
                arguments.clients,
                arguments.seconds,
                arguments.uploads,
                lambda text: print(text, file=sys.stderr),
            )
        )
    print(f"| {arguments.clients} clients poll | answers/s | median, ms | 99th percentile, ms | CPU, ms | wrong |")
    print("|---|---:|---:|---:|---:|---|")
    for row in polls:
        print(f"| {row.name} | {row.per_second} | {row.median_ms} | {row.p99_ms} | {row.cpu_ms} | {row.wrong or 0} |")
    print(f"\n{arguments.uploads} uploads at once: {asdict(uploads)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"polls": [asdict(row) for row in polls], "uploads": asdict(uploads)}))
    sys.exit(bool(any(row.wrong for row in polls) or uploads.jobs != arguments.uploads))


if __name__ == "__main__":
    main()
