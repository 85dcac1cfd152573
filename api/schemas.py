"""What the service says about jobs, models and itself, with examples for the OpenAPI document."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

from api.problems import MEDIA_TYPE, Problem, problem_of
from worker.estimates import Estimate
from worker.jobs import JobRecord, JobState
from worker.webhooks import Delivery

_ID = "0d1f7d0c-93a4-4b0e-8f0c-5a7f6f0a3c11"


class JobLinks(BaseModel):
    """Where to go from a job."""

    model_config = ConfigDict(populate_by_name=True)

    self_: str = Field(alias="self", description="The job itself.")
    events: str = Field(description="Server-sent events of the job.")
    cancel: str | None = Field(description="Where to POST to cancel the job; null when it has ended.")
    results: dict[str, str] = Field(description="Result files by name; empty until the job has succeeded.")


class WebhookState(BaseModel):
    """How the telling of a job stands."""

    host: str = Field(description="Host that is told.", examples=["example.org"])
    events: list[JobState] = Field(description="States whose beginning is told.")
    waiting: int = Field(description="Messages that are not delivered yet.")
    attempts: int = Field(description="Tries of the message at hand, or of the last one.")
    delivered_at: datetime | None = Field(description="When a message was last taken by the receiver.")
    last_status: int | None = Field(description="HTTP status of the last try; null when there was no answer.")
    last_error: str | None = Field(
        description="Why the last try failed without an answer: address-refused, no-connection or timeout."
    )
    given_up_at: datetime | None = Field(description="When a message was last given up.")

    @classmethod
    def of(cls, record: JobRecord, delivery: Delivery | None) -> WebhookState | None:
        """Give how it stands, or None when nobody is told or it is not known."""
        if record.webhook is None or delivery is None:
            return None
        return cls(host=httpx.URL(record.webhook).host, events=list(record.webhook_events), **asdict(delivery))


class Job(BaseModel):
    """A job."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": _ID,
                "state": "running",
                "stage": "register",
                "progress": 0.4,
                "attempt": 1,
                "queue_position": None,
                "created_at": "2026-01-05T09:30:00Z",
                "started_at": "2026-01-05T09:30:01Z",
                "finished_at": None,
                "expires_at": None,
                "bundle": "cochlea-ct-v2",
                "bundle_digest": "5f6c0f1e8d2b4a7793a1c0de4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978",
                "side": "left",
                "estimated_start_at": None,
                "estimated_end_at": "2026-01-05T09:30:25Z",
                "links": {
                    "self": f"/v1/jobs/{_ID}",
                    "events": f"/v1/jobs/{_ID}/events",
                    "cancel": f"/v1/jobs/{_ID}/cancel",
                    "results": {},
                },
                "warnings": [],
                "problem": None,
                "request_id": "6f1c2e0b9d7a4f35",
                "traceparent": None,
                "webhook": None,
            }
        }
    )

    id: str
    state: JobState = Field(description="Where the job stands.")
    stage: str | None = Field(
        default=None,
        description="What it is at: load, check, resample, register, refine, segment, mesh, mask, write, publish.",
    )
    progress: float = Field(ge=0, le=1, description="Share of the work that is done.")
    attempt: int = Field(ge=0, description="How often a worker began it.")
    queue_position: int | None = Field(
        default=None, description="Place in the queue, 1 for the next; null when it does not wait."
    )
    estimated_start_at: datetime | None = Field(
        default=None,
        description="When a waiting job is thought to start: each job ahead is given the median run time of the latest "
        "50 jobs that succeeded and goes to the live worker that is free first. Rounded up to 5 s. Null when no job "
        "has succeeded yet, no worker lives, or the job does not wait.",
    )
    estimated_end_at: datetime | None = Field(
        default=None,
        description="When the job is thought to end: its start, real or estimated, plus the median run time of the "
        "latest 50 jobs of its bundle that succeeded. Null when there are none, no worker lives, the job has ended, or "
        "it runs longer than that already.",
    )
    created_at: datetime
    started_at: datetime | None = Field(default=None, description="When the current attempt began.")
    finished_at: datetime | None = None
    expires_at: datetime | None = Field(
        default=None, description="When its files are erased; null while it is not finished, and when they are kept."
    )
    bundle: str = Field(description="Name of the model bundle.")
    bundle_digest: str | None = Field(
        default=None, description="Digest of the bundle; the job is computed with this one or fails."
    )
    side: Literal["left", "right"] = Field(description="Laterality the job is computed with.")
    links: JobLinks
    warnings: list[str] = Field(description="Remarks on the input and the result.")
    problem: Problem | None = Field(default=None, description="Why the job failed; null unless it did.")
    request_id: str | None = Field(default=None, description="Name of the request that submitted it, as in the logs.")
    traceparent: str | None = Field(default=None, description="W3C trace context of that request.")
    webhook: WebhookState | None = Field(default=None, description="Who is told of the job, and how that stands.")

    @classmethod
    def of(
        cls,
        record: JobRecord,
        queue_position: int | None,
        base: str,
        estimate: Estimate | None = None,
        delivery: Delivery | None = None,
        expires_at: datetime | None = None,
    ) -> Job:
        """Give what is said about a record.

        Args:
            record: the record.
            queue_position: its place in the queue.
            base: address of the job collection as the client sees it, such as `/v1/jobs`.
            estimate: when it is thought to start and end; None tells nothing.
            delivery: how the telling of it stands.
            expires_at: when its files are, or were, erased.
        """
        estimate = estimate or Estimate()
        address = f"{base}/{record.id}"
        results = {name: f"{address}/{name}" for name in sorted(record.files) if not name.startswith("meshes.")}
        return cls(
            id=record.id,
            state=record.state,
            stage=record.stage,
            progress=record.progress,
            attempt=record.attempt,
            queue_position=queue_position,
            estimated_start_at=estimate.start_at,
            estimated_end_at=estimate.end_at,
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=record.finished_at,
            expires_at=expires_at,
            bundle=record.bundle,
            bundle_digest=record.bundle_digest,
            side=record.side,
            links=JobLinks.model_validate(
                {
                    "self": address,
                    "events": f"{address}/events",
                    "cancel": None if record.state.finished else f"{address}/cancel",
                    "results": results,
                }
            ),
            warnings=list(record.warnings),
            problem=None if record.failure is None else problem_of(record.failure, instance=address),
            request_id=record.request_id,
            traceparent=record.traceparent,
            webhook=WebhookState.of(record, delivery),
        )


class JobPage(BaseModel):
    """Some jobs, latest first."""

    jobs: list[Job]
    next: str | None = Field(
        description="Address of the jobs before these; null at the end.", examples=["/v1/jobs?limit=20&before=41"]
    )


class Health(BaseModel):
    """Whether the service lives."""

    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One condition of being ready."""

    ok: bool
    reason: str = Field(description="What was found.", examples=["1 worker beats"])


class Readiness(BaseModel):
    """Whether jobs are taken and worked on."""

    ready: bool
    queues: dict[str, Check] = Field(
        description="Whether a worker takes jobs from each queue that jobs can come to.",
        examples=[{"cpu": {"ok": True, "reason": "1 worker beats, 1 consumes"}}],
    )
    checks: dict[str, Check] = Field(
        examples=[
            {
                "redis": {"ok": True, "reason": "takes writes"},
                "disk": {"ok": True, "reason": "has room"},
                "worker": {"ok": True, "reason": "1 worker beats, 1 consumes"},
                "bundle": {"ok": True, "reason": "cochlea-ct-v2 is loaded"},
            }
        ]
    )


class LinkMap(BaseModel):
    """The addresses of the service."""

    name: str = "cochlear"
    version: str = Field(examples=["0.1.0"])
    notice: str = Field(description="What the results may be used for.", examples=["Research use only."])
    links: dict[str, str] = Field(examples=[{"jobs": "/v1/jobs", "models": "/v1/models"}])


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI entries of routes that may answer with problems of these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


_MEANINGS = {
    400: "The request is malformed.",
    401: "No valid API key was sent, where keys are required.",
    403: "The key lacks the scope; without keys: the request is not from this machine.",
    404: "There is no such job or result.",
    408: "The request came too slowly.",
    409: "The state of the job or model does not allow it yet.",
    410: "The job has expired; its files are gone.",
    413: "The upload is too large.",
    416: "The range lies outside the file.",
    415: "The content type is not taken.",
    422: "The input cannot be used.",
    429: "This caller sends too many requests or has too many jobs; `Retry-After` says when to try again.",
    431: "Address and header fields are too long.",
    503: "The service cannot take it at the moment.",
}
