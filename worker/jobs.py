"""The job record: what is known about one job, and which changes of state are lawful."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from model.errors import CochlearError
from worker.routes import QueueName


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def finished(self) -> bool:
        """Whether nothing more will be computed."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


_LAWFUL: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELED}),
    JobState.RUNNING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED}
    ),
    JobState.SUCCEEDED: frozenset({JobState.EXPIRED}),
    JobState.FAILED: frozenset({JobState.EXPIRED}),
    JobState.CANCELED: frozenset({JobState.EXPIRED}),
    JobState.EXPIRED: frozenset(),
}


class JobFailure(BaseModel):
    """Why a job failed, in the terms of `CochlearError`; the service turns it into a problem document."""

    model_config = ConfigDict(frozen=True)

    code: str
    title: str
    detail: str
    expected: str | None = None
    found: str | None = None
    hint: str | None = None
    field: str | None = None

    @classmethod
    def from_error(cls, error: CochlearError) -> JobFailure:
        """Give the record of a typed error."""
        return cls(
            code=error.code,
            title=error.title,
            detail=error.detail,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
            field=error.field,
        )


class ResultFile(BaseModel):
    """Size and digest of one published file."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int


class JobRecord(BaseModel):
    """Everything known about a job; the one truth, kept in Redis.

    Attributes:
        id: random name of the job.
        sequence: place in the order of arrival; unique.
        state: where the job stands.
        stage: what the worker does now, or None.
        progress: share of the work done, 0 to 1.
        attempt: how often a worker began it.
        created_at: when it was accepted (clock of the Redis server, as are the other times).
        updated_at: when the record last changed.
        started_at: when the current attempt began.
        finished_at: when it ended.
        bundle: name of the model bundle.
        side: laterality that was settled when the request was checked.
        stated_side: laterality as sent, or None.
        formats: mesh formats to write.
        landmarks: the landmarks document as sent, or None for a prepared crop.
        input_name: name of the stored image.
        warnings: remarks for the user.
        failure: why it failed, or None.
        files: published files by name relative to the results.
        owner: id of the API key it was submitted with; None when access is open.
        bundle_digest: SHA-256 of the bundle's manifest when the job was accepted.
        request_id: name of the request that submitted it.
        traceparent: W3C trace context of that request, or None.
        batch: id of the batch it belongs to, or None.
        batch_index: place in that batch, from 0, or None.
        webhook: address that is told of the job, or None.
        webhook_events: states whose beginning is told to it.
        expires_in_s: seconds after its end for which the results are wanted; None leaves it to the service.
        idempotency: where the idempotency key of its request is kept, or None.
        lease: who works on it: worker, then a random token of the attempt; None unless running.
        cancel_requested: whether the user asked to stop a running job.
        queued_at: when it was put back into the queue; None until then, as it waits since `created_at`.
        input_bytes: size of the image as sent.
        stage_s: seconds by stage of the attempt that succeeded.
        verdicts: verdicts of the quality checks by name, and `overall`; empty until it has succeeded.
        queue: the queue it waits in.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    sequence: int = 0
    state: JobState = JobState.QUEUED
    stage: str | None = None
    progress: float = 0.0
    attempt: int = 0
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    bundle: str
    side: Literal["left", "right"]
    stated_side: Literal["left", "right"] | None = None
    formats: tuple[str, ...]
    landmarks: dict[str, Any] | None = None
    input_name: str
    warnings: tuple[str, ...] = ()
    failure: JobFailure | None = None
    files: dict[str, ResultFile] = {}
    owner: str | None = None
    bundle_digest: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    batch: str | None = None
    batch_index: int | None = None
    webhook: str | None = None
    webhook_events: tuple[JobState, ...] = ()
    expires_in_s: float | None = None
    idempotency: str | None = None
    lease: str | None = None
    cancel_requested: bool = False
    queued_at: datetime | None = None
    input_bytes: int = 0
    stage_s: dict[str, float] = {}
    verdicts: dict[str, str] = {}
    queue: QueueName = "cpu"

    def changed(self, **changes: object) -> JobRecord:
        """Give this record with some fields changed.

        Raises:
            ValueError: when the change of state is not lawful.
        """
        record = self.model_copy(update=changes)
        if record.state not in _LAWFUL[self.state]:
            raise ValueError(f"job {self.id}: a {self.state} job cannot become {record.state}")
        return record
