"""The measurements of a batch as CSV (RFC 4180): a row for each ear and structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from api.batches.schemas import Batch, BatchItem
from model.outputs.report import ResultReport
from worker.artifacts import ArtifactStore
from worker.jobs import JobRecord

COLUMNS = (
    "index",
    "job",
    "state",
    "problem",
    "bundle",
    "side",
    "quality",
    "structure",
    "code",
    "mesh_volume_mm3",
    "mask_volume_mm3",
    "mask_voxels",
)


def rows(batch: Batch, jobs: dict[int, JobRecord], artifacts: ArtifactStore) -> Iterator[str]:
    """Give the table line by line; an ear without results has one row without measurements.

    Args:
        batch: the batch.
        jobs: its jobs by place.
        artifacts: the files of the jobs.
    """
    yield _line(COLUMNS)
    for item in batch.items:
        job = jobs.get(item.index)
        report = _report(job, artifacts)
        if job is None or report is None:
            yield _line([*_head(item), "" if job is None else job.bundle, "" if job is None else job.side, *[""] * 6])
            continue
        start = [*_head(item), job.bundle, job.side, report.quality.verdict]
        for structure in report.structures:
            volumes = (f"{structure.mesh_volume_mm3:.4f}", f"{structure.mask_volume_mm3:.4f}")
            yield _line([*start, structure.id, structure.code, *volumes, str(structure.mask_voxels)])


def _head(item: BatchItem) -> list[str]:
    """Give the first columns of an ear."""
    code = "" if item.problem is None else item.problem.type.rpartition("/")[2]
    return [str(item.index), item.job or "", str(item.state), code]


def _report(job: JobRecord | None, artifacts: ArtifactStore) -> ResultReport | None:
    """Give the report of a job that has one; none when it expires this very moment."""
    if job is None or "report.json" not in job.files:
        return None
    try:
        return ResultReport.model_validate_json(artifacts.read_result(job.id, "report.json"))
    except FileNotFoundError:
        return None


def _line(values: tuple[str, ...] | list[str]) -> str:
    """Give one line."""
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()
