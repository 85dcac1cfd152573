"""What the service says about batches."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.problems import Problem, problem_of
from worker.batches import BatchRecord
from worker.jobs import JobRecord, JobState

ItemState = JobState | Literal["refused", "erased"]


class BatchItem(BaseModel):
    """One ear of a batch."""

    index: int = Field(description="Place in the batch, from 0.")
    state: ItemState = Field(description="State of its job; refused when there never was one, erased when it is gone.")
    job: str | None = Field(default=None, description="Id of its job.")
    link: str | None = Field(default=None, description="Address of its job.")
    progress: float = Field(default=0.0, description="Share of the work that is done.")
    problem: Problem | None = Field(default=None, description="Why it was refused or failed.")


class Batch(BaseModel):
    """Several ears that were submitted together."""

    id: str
    created_at: datetime
    total: int = Field(description="How many ears came.")
    counts: dict[str, int] = Field(description="How many are in each state.", examples=[{"succeeded": 4, "refused": 1}])
    done: float = Field(ge=0, le=1, description="Share of the ears of which nothing more is to come.")
    items: list[BatchItem]
    links: dict[str, str] = Field(
        examples=[{"self": "/v1/batches/x", "measurements": "/v1/batches/x/measurements.csv"}]
    )

    @classmethod
    def of(cls, batch: BatchRecord, jobs: dict[int, JobRecord], prefix: str) -> Batch:
        """Give what is said about a batch.

        Args:
            batch: the record.
            jobs: those of its jobs that are still there, by place.
            prefix: what a proxy puts before all addresses.
        """
        items = [_item(batch, place, jobs.get(place), prefix) for place in range(batch.total)]
        states = [str(item.state) for item in items]
        address = f"{prefix}/v1/batches/{batch.id}"
        open_ones = sum(not job.state.finished for job in jobs.values())
        return cls(
            id=batch.id,
            created_at=batch.created_at,
            total=batch.total,
            counts={state: states.count(state) for state in sorted(set(states))},
            done=round(1 - open_ones / batch.total, 4),
            items=items,
            links={"self": address, "measurements": f"{address}/measurements.csv"},
        )


class BatchPage(BaseModel):
    """Some batches, latest first."""

    batches: list[Batch]
    next: str | None = Field(description="Address of the batches before these; null at the end.")


def _item(batch: BatchRecord, place: int, job: JobRecord | None, prefix: str) -> BatchItem:
    """Give what is said about one ear."""
    if job is not None:
        address = f"{prefix}/v1/jobs/{job.id}"
        problem = None if job.failure is None else problem_of(job.failure, instance=address)
        return BatchItem(index=place, state=job.state, job=job.id, link=address, progress=job.progress, problem=problem)
    if place in batch.refused:
        return BatchItem(index=place, state="refused", problem=problem_of(batch.refused[place]))
    return BatchItem(index=place, state="erased")
