"""Routes of jobs: submit, look, list, remove."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api.access.caller import Caller, Reader, Submitter
from api.access.job_cap import check_job_cap
from api.context import Context, ContextOf
from api.problems import ServiceError
from api.request_id import request_id_of
from api.schemas import Job, JobPage, problem_responses
from api.storage import require_space
from api.submission import accept, check_upload
from api.uploads import receive_upload
from model.meshes.formats import MESH_FORMATS
from worker import lifecycle
from worker.jobs import JobRecord
from worker.retention import expiry_of
from worker.webhooks import DEFAULT_EVENTS, EVENTS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="Id of the job.", max_length=64)]
_RETRY_AFTER = {"Retry-After": "1"}
# Checks read whole images into memory; more at once would only compete for it.
CHECKS = anyio.CapacityLimiter(2)

FORM_FIELDS: Mapping[str, Any] = {
    "image": {
        "type": "string",
        "format": "binary",
        "description": "The ear as NIfTI (.nii or .nii.gz): a raw CT, or a prepared crop.",
    },
    "landmarks": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON with at least three of the landmarks RW, C, A, OW, V; needed for a raw CT.",
        "example": '{"side": "left", "space": "RAS", "unit": "mm", "landmarks": '
        '{"RW": [-16.2, -95.5, -97.4], "C": [-21.6, -93.4, -96.6], "A": [-22.7, -96.1, -96.1]}}',
    },
    "side": {"type": "string", "enum": ["left", "right"], "description": "Laterality of the ear."},
    "bundle": {
        "type": "string",
        "description": "Name of a model bundle; the default one when absent.",
        "example": "cochlea-ct-v2",
    },
    "formats": {
        "type": "string",
        "description": "Mesh formats to put into the results, separated by commas: "
        + ", ".join(MESH_FORMATS)
        + ". Any other is still made on request.",
        "default": "vtk,stl",
    },
    "webhook": {
        "type": "string",
        "format": "uri",
        "description": "https address that is told of the job, signed as Standard Webhooks asks: "
        "type of the event and the job as GET shows it. Private addresses are refused.",
        "example": "https://example.org/hook",
    },
    "webhook_events": {
        "type": "string",
        "description": "States whose beginning is told, separated by commas: " + ", ".join(EVENTS),
        "default": ",".join(DEFAULT_EVENTS),
    },
    "expires_in": {
        "type": "integer",
        "minimum": 1,
        "description": "Seconds after the end of the job for which its files are wanted; the "
        "service may keep them shorter, see `expires_at`.",
        "example": 86400,
    },
}
"""Schemas of the fields of a submission."""

_FORM: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": dict(FORM_FIELDS),
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=202,
    response_model=Job,
    responses=problem_responses(400, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=dict(_FORM),
    summary="Submit an ear",
)
async def submit(request: Request, context: ContextOf, caller: Submitter) -> Response:
    """Take an image, check all of it, and queue the job.

    The answer names the job in `Location`; ask there until its state is final.
    """
    await anyio.to_thread.run_sync(check_job_cap, context, caller)
    settings = context.settings
    require_space(settings, request)
    settings.uploads_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = settings.uploads_dir / f"{uuid.uuid4()}.part"
    try:
        upload = await receive_upload(request, target, settings.max_upload_bytes)
        submission = await anyio.to_thread.run_sync(check_upload, upload, settings, context.models, limiter=CHECKS)
        record = await anyio.to_thread.run_sync(accept, context, submission, target, caller, request_id_of(request))
        job = await anyio.to_thread.run_sync(_job, context, record, request)
    finally:
        target.unlink(missing_ok=True)
    return JSONResponse(_json(job), 202, {"Location": job.links.self_, **_RETRY_AFTER})


@router.get("", response_model=JobPage, responses=problem_responses(422, 503), summary="List jobs")
def list_jobs(
    request: Request,
    context: ContextOf,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="How many jobs at most.")] = 20,
    before: Annotated[int | None, Query(ge=0, description="Continue a list; taken from `next`.")] = None,
) -> JobPage:
    """Give jobs, latest first, page by page."""
    records = context.store.page(limit, before, caller.owner)
    jobs = [_job(context, record, request) for record in records]
    more = len(records) == limit and context.store.page(1, records[-1].sequence, caller.owner)
    return JobPage(jobs=jobs, next=f"{_base(request)}?limit={limit}&before={records[-1].sequence}" if more else None)


@router.get("/{job_id}", response_model=Job, responses=problem_responses(404, 503), summary="Look at a job")
def show(request: Request, context: ContextOf, caller: Reader, job_id: JobId) -> Response:
    """Give a job; with `If-None-Match` 304 while nothing has changed, and `Retry-After` while it is not finished."""
    record = find_job(context, caller, job_id)
    job = _json(_job(context, record, request))
    response = JSONResponse(job)
    tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", **({} if record.state.finished else _RETRY_AFTER)}
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


@router.delete(
    "/{job_id}",
    response_model=None,
    responses={
        202: {"model": Job, "description": "The job is canceled, or will be as soon as its worker notices."},
        204: {"description": "The finished job, its record and all its files are erased."},
        **problem_responses(404, 503),
    },
    summary="Cancel or erase a job",
)
def remove(request: Request, context: ContextOf, caller: Submitter, job_id: JobId) -> Response:
    """Cancel a job that is not finished; erase one that is."""
    find_job(context, caller, job_id)
    canceled = lifecycle.request_cancel(context.store, job_id)
    if canceled is not None:
        if canceled.state.finished:
            context.artifacts.erase(job_id)
        return JSONResponse(_json(_job(context, canceled, request)), 202, _RETRY_AFTER)
    # The record goes first: whoever still sees it finds the files, and files left by a crash here are swept up.
    context.store.remove(job_id)
    context.artifacts.erase(job_id)
    return Response(status_code=204)


def find_job(context: Context, caller: Caller, job_id: str) -> JobRecord:
    """Give the record of a job of this caller.

    Raises:
        ServiceError: when there is none; a job of somebody else is answered in the same words.
    """
    record = context.store.get(job_id)
    if record is None or not caller.may_see(record):
        raise no_such_job()
    return record


def no_such_job() -> ServiceError:
    """Give the error for an id that names no job of the caller."""
    return ServiceError("no-such-job", "There is no such job", "no job has this id, or it was erased")


def matches(request: Request, tag: str) -> bool:
    """Tell whether the client has the representation with this entity tag (RFC 9110, section 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in given.split(","))


def _job(context: Context, record: JobRecord, request: Request) -> Job:
    """Give what is said about a record."""
    delivery = None if record.webhook is None else context.outbox.delivery(record.id)
    expires_at = expiry_of(record, context.settings.retention_s)
    return Job.of(record, context.store.queue_position(record.id), _base(request), delivery, expires_at)


def _base(request: Request) -> str:
    """Give the address of the job collection behind whatever prefix a proxy adds."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/v1/jobs"


def _json(job: Job) -> dict[str, Any]:
    """Give a job as JSON values."""
    return job.model_dump(mode="json", by_alias=True)
