"""How much a machine does: jobs per hour, memory per worker and disk per job, with the shipped model.

    python -m benchmarks.throughput                    # the labelled ears beside the checkout, otherwise phantoms
    python -m benchmarks.throughput --ears EARS --jobs 10 --json throughput.json

One worker, then two, on the same jobs in one run, each with one thread. The wall clock suffers from whatever else runs
on the machine; the processor time of a job hardly does, and tells what a free core would do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.small_ear import Ear
from benchmarks.stack import Stack, children_of
from model.bundle import DEFAULT_BUNDLE, find_bundle, load_bundle
from model.evaluation.phantom import TYPICAL_SEED, write_phantom
from worker.jobs import JobRecord, JobState

_EARS = Path(__file__).resolve().parents[2] / "shared" / "ears"
_TIMEOUT_S = 3600.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """What one number of workers did.

    Attributes:
        workers: how many.
        jobs: jobs measured, after one for each worker that warmed it up.
        seconds: from the begin of the first to the end of the last.
        cpu_s_per_job: processor time of the computing processes, for each job.
        median_run_s: median time of a run.
        memory_bytes: largest proportional set size of a worker with its computing process, at the end.
        peak_bytes: largest resident memory a computing process ever had.
        disk_bytes_per_job: image and results.
        redis_bytes_per_job: growth of the append-only file.
        load: load average of a minute, before and after.
    """

    workers: int
    jobs: int
    seconds: float
    cpu_s_per_job: float
    median_run_s: float
    memory_bytes: int
    peak_bytes: int
    disk_bytes_per_job: int
    redis_bytes_per_job: int
    load: tuple[float, float]

    @property
    def per_hour(self) -> float:
        """Jobs per hour by the wall clock."""
        return 3600.0 * self.jobs / self.seconds

    @property
    def per_hour_and_core(self) -> float:
        """Jobs that one free core does in an hour, by processor time."""
        return 3600.0 / self.cpu_s_per_job


def measure(ears: list[Ear], jobs: int, workers: int, folder: Path) -> Measured:
    """Run jobs with one or two workers."""
    before = os.getloadavg()[0]
    with Stack(folder, None, second_worker=workers == 2) as stack:
        processes = _computing(stack, workers)
        _wait(stack, _submit(stack, ears, workers))
        cpu, log = sum(map(_cpu_s, processes.values())), _size(stack.data_dir / "redis")
        ended = _wait(stack, _submit(stack, ears, jobs))
        cpu, log = sum(map(_cpu_s, processes.values())) - cpu, _size(stack.data_dir / "redis") - log
        begin, end = min(_begin(job) for job in ended), max(_end(job) for job in ended)
        return Measured(
            workers=workers,
            jobs=jobs,
            seconds=end - begin,
            cpu_s_per_job=cpu / jobs,
            median_run_s=statistics.median(_end(job) - _begin(job) for job in ended),
            memory_bytes=max(
                _memory(child, "smaps_rollup", "Pss") + _memory(_id_of(name), "smaps_rollup", "Pss")
                for name, child in processes.items()
            ),
            peak_bytes=max(_memory(child, "status", "VmHWM") for child in processes.values()),
            disk_bytes_per_job=sum(_size(stack.data_dir / "jobs" / job.id) for job in ended) // jobs,
            redis_bytes_per_job=max(0, log) // jobs,
            load=(before, os.getloadavg()[0]),
        )


def find_ears(folder: Path | None, scratch: Path) -> tuple[str, list[Ear]]:
    """Give what the jobs are made of, and its name: the ears of a folder, otherwise phantoms."""
    folder = _EARS if folder is None and _EARS.is_dir() else folder
    if folder is not None:
        found = [
            Ear(path, path.with_name("landmarks.json"))
            for path in sorted(folder.glob("*/ct.nii.gz"))
            if path.with_name("landmarks.json").is_file()
        ]
        return f"{len(found)} labelled ears", found
    bundle = load_bundle(find_bundle(DEFAULT_BUNDLE))
    for seed in (TYPICAL_SEED, TYPICAL_SEED + 1):
        write_phantom(bundle, seed, scratch / str(seed))
    return "2 phantoms", [Ear(path, path.with_name("landmarks.json")) for path in sorted(scratch.glob("*/ct.nii.gz"))]


def _submit(stack: Stack, ears: list[Ear], count: int) -> list[str]:
    """Submit jobs, ear by ear, and give their ids."""
    ids = []
    for place in range(count):
        response = stack.http.post("/v1/jobs", **ears[place % len(ears)].form())
        response.raise_for_status()
        ids.append(str(response.json()["id"]))
    return ids


def _wait(stack: Stack, ids: list[str]) -> list[JobRecord]:
    """Wait until jobs have succeeded and give their records."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        records = [record for job_id in ids if (record := stack.store.get(job_id)) is not None]
        failed = [record for record in records if record.state.finished and record.state is not JobState.SUCCEEDED]
        if failed or len(records) < len(ids):
            raise RuntimeError(f"a job did not succeed: {failed[0].failure if failed else 'it is gone'}")
        if all(record.state.finished for record in records):
            return records
        time.sleep(0.2)
    raise RuntimeError("the jobs did not end in time")


def _begin(job: JobRecord) -> float:
    """Give when a run began, seconds since 1970."""
    return 0.0 if job.started_at is None else job.started_at.timestamp()


def _end(job: JobRecord) -> float:
    """Give when a run ended, seconds since 1970."""
    return 0.0 if job.finished_at is None else job.finished_at.timestamp()


def _computing(stack: Stack, workers: int) -> dict[str, int]:
    """Give the computing process of every worker, by the worker's name, once all of them are there."""
    deadline = time.monotonic() + 240
    while len(names := stack.store.live_workers()) < workers:
        if time.monotonic() > deadline:
            raise RuntimeError("a worker does not start")
        time.sleep(0.2)
    return {name: children_of(_id_of(name))[0] for name in names}


def _id_of(worker: str) -> int:
    """Give the process id of a worker."""
    return int(worker.rpartition(":")[2])


def _cpu_s(process_id: int) -> float:
    """Give the processor time of a process, seconds (proc(5): fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(process_id: int, file: str, name: str) -> int:
    """Give a figure of memory of a process, bytes."""
    lines = Path(f"/proc/{process_id}/{file}").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _size(folder: Path) -> int:
    """Give the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _print(what: str, found: list[Measured]) -> None:
    """Print a table."""
    print(f"{what}, {DEFAULT_BUNDLE}, {os.cpu_count()} cores")
    rows = {
        "jobs per hour (wall clock)": [f"{each.per_hour:.0f}" for each in found],
        "jobs per hour and free core": [f"{each.per_hour_and_core:.0f}" for each in found],
        "processor time of a job, s": [f"{each.cpu_s_per_job:.1f}" for each in found],
        "median run, s": [f"{each.median_run_s:.1f}" for each in found],
        "memory of a worker, MiB": [f"{each.memory_bytes / 2**20:.0f}" for each in found],
        "peak of its computing process, MiB": [f"{each.peak_bytes / 2**20:.0f}" for each in found],
        "disk of a job, MiB": [f"{each.disk_bytes_per_job / 2**20:.1f}" for each in found],
        "append-only file of a job, KiB": [f"{each.redis_bytes_per_job / 2**10:.0f}" for each in found],
        "load average before, after": [f"{each.load[0]:.1f}, {each.load[1]:.1f}" for each in found],
    }
    print(f"{'':36}" + "".join(f"{each.workers} worker{'s' if each.workers > 1 else ''}".rjust(14) for each in found))
    for name, cells in rows.items():
        print(f"{name:36}" + "".join(cell.rjust(14) for cell in cells))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ears", type=Path, help="folder of ears, each with ct.nii.gz and landmarks.json")
    parser.add_argument("--jobs", type=int, default=8, help="jobs measured for each number of workers")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        what, ears = find_ears(options.ears, Path(scratch))
        found = []
        for workers in (1, 2):
            folder = Path(scratch) / f"{workers}-workers"
            folder.mkdir()
            found.append(measure(ears, options.jobs, workers, folder))
    _print(what, found)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
