"""Routes of batches: submit, look, measure, list, remove."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, StreamingResponse

from api.access.caller import Caller, Reader, Submitter
from api.access.job_cap import check_job_cap
from api.batches.acceptance import accept_batch, check_batch, folder_for
from api.batches.archive import ARCHIVE
from api.batches.manifest import MANIFEST
from api.batches.schemas import Batch, BatchPage
from api.batches.table import rows
from api.context import Context, ContextOf
from api.idempotency import PARAMETER, REPLAYED, fingerprint_of, key_of, ticket_for
from api.job_form import FORM_FIELDS
from api.job_routes import CHECKS
from api.problems import ServiceError
from api.request_id import request_id_of
from api.schemas import problem_responses
from api.storage import require_space
from api.uploads import FIELDS, IMAGE, MAX_FIELD_BYTES, FormRules, receive_form
from worker import lifecycle
from worker.batches import BatchRecord
from worker.settings import Settings

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BatchId = Annotated[str, PathParameter(description="Id of the batch.", max_length=64)]
_MANIFEST_BYTES = 2 * 2**20
_RETRY_AFTER = {"Retry-After": "2"}
_PROPERTIES: Mapping[str, Any] = {
    "image": {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "NIfTI files, one part named `image` for each ear.",
    },
    "archive": {
        "type": "string",
        "format": "binary",
        "description": "Instead of `image`: a ZIP file of NIfTI files, without folders.",
    },
    "manifest": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "JSON array with an object for each ear, in the order of the images, or with `name`, the member "
        "of the archive. The objects hold the fields of a single job; they go before the fields of the form.",
        "example": '[{"landmarks": {"side": "left", "landmarks": {}}}, {"side": "right", "formats": ["stl"]}]',
    },
    **{name: schema for name, schema in FORM_FIELDS.items() if name in FIELDS and name != "landmarks"},
}
_FORM: dict[str, Any] = {
    "parameters": [PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "additionalProperties": False, "properties": dict(_PROPERTIES)}
            }
        },
    },
}


@router.post(
    "",
    status_code=202,
    response_model=Batch,
    responses=problem_responses(400, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=dict(_FORM),
    summary="Submit several ears",
)
async def submit_batch(request: Request, context: ContextOf, caller: Submitter) -> Response:
    """Take several ears; each is checked on its own, and one that is refused does not keep the others out.

    The fields of the form are those of a single job and concern all ears; `manifest` says what belongs to each. The
    answer gives each ear's job, or the problem it was refused with; it is 422 only when no ear can be used.
    """
    key = key_of(request)
    if key is None:
        await anyio.to_thread.run_sync(check_job_cap, context, caller)
    settings = context.settings
    require_space(settings, request)
    with folder_for(settings) as name:
        form = await receive_form(request, Path(name), _rules(settings))
        fingerprint = fingerprint_of(form.sha256, form.fields)
        async with ticket_for(context.claims, caller.key_id, "batches", key, fingerprint) as ticket:
            if ticket.made_id is None:
                usable, refused = await check_batch(form, Path(name), context, CHECKS)
                batch = await anyio.to_thread.run_sync(
                    accept_batch, context, usable, refused, caller, request_id_of(request), ticket.claim
                )
            else:
                batch = await anyio.to_thread.run_sync(_find, context, caller, ticket.made_id)
        answer = await anyio.to_thread.run_sync(_batch, context, batch, request)
    headers = {"Location": answer.links["self"], **_RETRY_AFTER, **({} if ticket.made_id is None else REPLAYED)}
    return JSONResponse(answer.model_dump(mode="json"), 202, headers)


@router.get("", response_model=BatchPage, responses=problem_responses(422, 503), summary="List batches")
def list_batches(
    request: Request,
    context: ContextOf,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="How many batches at most.")] = 20,
    before: Annotated[int | None, Query(ge=0, description="Continue a list; taken from `next`.")] = None,
) -> BatchPage:
    """Give batches, latest first, page by page; a batch is there until its last job is gone."""
    found = context.batches.page(limit, before, caller.owner)
    more = len(found) == limit and context.batches.page(1, found[-1].sequence, caller.owner)
    address = f"{_prefix(request)}/v1/batches?limit={limit}&before={found[-1].sequence}" if more else None
    return BatchPage(batches=[_batch(context, batch, request) for batch in found], next=address)


@router.get("/{batch_id}", response_model=Batch, responses=problem_responses(404, 503), summary="Look at a batch")
def show_batch(request: Request, response: Response, context: ContextOf, caller: Reader, batch_id: BatchId) -> Batch:
    """Give a batch: its ears with their jobs and states, counts by state, the share that is done."""
    answer = _batch(context, _find(context, caller, batch_id), request)
    response.headers["Cache-Control"] = "no-cache"
    if answer.done < 1:
        response.headers.update(_RETRY_AFTER)
    return answer


@router.get(
    "/{batch_id}/measurements.csv",
    response_class=Response,
    responses={200: {"description": "The table.", "content": {"text/csv": {}}}, **problem_responses(404, 503)},
    summary="The measurements of a batch as a table",
)
def measurements(request: Request, context: ContextOf, caller: Reader, batch_id: BatchId) -> Response:
    """Give a row for each ear and structure with volumes in mm3, verdict, bundle and state; also while jobs run."""
    batch = _find(context, caller, batch_id)
    jobs = context.batches.jobs(batch_id)
    lines = rows(Batch.of(batch, jobs, _prefix(request)), jobs, context.artifacts)
    headers = {
        "Cache-Control": "no-cache",
        "Content-Disposition": f'attachment; filename="{batch_id[:8]}-measurements.csv"',
    }
    return StreamingResponse(lines, headers=headers, media_type="text/csv")


@router.delete(
    "/{batch_id}",
    response_model=None,
    responses={
        202: {"model": Batch, "description": "What runs is asked to stop, the rest is erased; ask again later."},
        204: {"description": "The batch, its jobs and all their files are erased."},
        **problem_responses(404, 503),
    },
    summary="Cancel and erase a batch",
)
def remove_batch(request: Request, context: ContextOf, caller: Submitter, batch_id: BatchId) -> Response:
    """Cancel all jobs of a batch that are not finished and erase those that are."""
    batch = _find(context, caller, batch_id)
    for job in context.batches.jobs(batch_id).values():
        lifecycle.request_cancel(context.store, job.id)
        if context.store.remove(job.id):
            context.artifacts.erase(job.id)
    context.batches.forget_empty()
    if context.batches.get(batch_id) is None:
        return Response(status_code=204)
    return JSONResponse(_batch(context, batch, request).model_dump(mode="json"), 202, _RETRY_AFTER)


def _find(context: Context, caller: Caller, batch_id: str) -> BatchRecord:
    """Give a batch of this caller; one of somebody else is answered in the same words as none."""
    batch = context.batches.get(batch_id)
    if batch is None or (caller.owner is not None and batch.owner != caller.owner):
        raise ServiceError("no-such-batch", "There is no such batch", "no batch has this id, or all its jobs are gone")
    return batch


def _batch(context: Context, batch: BatchRecord, request: Request) -> Batch:
    """Give what is said about a batch."""
    return Batch.of(batch, context.batches.jobs(batch.id), _prefix(request))


def _prefix(request: Request) -> str:
    """Give what a proxy puts before all addresses."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _rules(settings: Settings) -> FormRules:
    """Give what the form of a batch may hold."""
    texts = {name: MAX_FIELD_BYTES for name in FIELDS if name != "landmarks"} | {MANIFEST: _MANIFEST_BYTES}
    total = settings.max_batch_bytes
    return FormRules({IMAGE: settings.max_batch_items, ARCHIVE: 1}, texts, settings.max_upload_bytes, total)
