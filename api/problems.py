"""RFC 9457 problem documents: the one place where errors become HTTP."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kombu.exceptions import OperationalError
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from api.access.headers import SECURITY_HEADERS
from api.request_id import HEADER, request_id_of
from model.errors import CochlearError
from model.meshes.formats import MESH_FORMATS
from model.structures import STRUCTURE_IDS
from worker.jobs import JobFailure
from worker.logs import EXTRA
from worker.storage import STORAGE_FULL, is_storage_full

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[str, int] = {
    "invalid-input": 422,
    "invalid-image": 422,
    "image-too-large": 413,
    "check-took-too-long": 422,
    "check-crashed": 422,
    "invalid-landmarks": 422,
    "invalid-option": 422,
    "invalid-mesh": 422,
    "invalid-bundle": 422,
    "unknown-bundle": 422,
    "damaged-bundle": 409,
    "bundle-changed": 409,
    "no-such-alias": 404,
    "device-unavailable": 500,
    "device-failed": 500,
    "gpu-out-of-memory": 500,
    "run-failed": 500,
    "invalid-settings": 500,
    "bad-request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "foreign-origin": 403,
    "not-local": 403,
    "request-timeout": 408,
    "body-too-large": 413,
    "too-many-requests": 429,
    "too-many-jobs": 429,
    "head-too-large": 431,
    "too-many-connections": 503,
    "keys-unavailable": 503,
    "malformed-upload": 400,
    "upload-too-large": 413,
    "unsupported-media-type": 415,
    "no-such-job": 404,
    "no-such-batch": 404,
    "no-usable-item": 422,
    "no-such-result": 404,
    "job-expired": 410,
    "result-not-ready": 409,
    "queue-full": 503,
    "invalid-idempotency-key": 400,
    "idempotency-key-reused": 422,
    "idempotency-key-busy": 409,
    "range-not-satisfiable": 416,
    # Not 507, which by RFC 4918 must not be tried again without being asked.
    "storage-full": 503,
    "time-limit": 500,
    "out-of-memory": 500,
    "internal-error": 500,
    "worker-lost": 500,
}
"""HTTP status by error code; a code that is not listed is a fault of the service."""

_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OWN_WORDS = frozenset(STRUCTURE_IDS) | frozenset(MESH_FORMATS)
"""What the variable parts of an address may be, beside ids of jobs."""

_STATUS_TITLES = {
    400: "The request is malformed",
    404: "There is nothing at this address",
    405: "The method is not offered at this address",
}


class ProblemItem(BaseModel):
    """One input at fault."""

    field: str | None = Field(default=None, description="Name of the input, such as `image` or `landmarks`.")
    expected: str | None = Field(default=None, description="What would have been accepted.")
    found: str | None = Field(default=None, description="What came instead.")
    hint: str | None = Field(default=None, description="What to do.")


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/invalid-landmarks",
                "title": "The landmarks cannot be used",
                "status": 422,
                "detail": "too few landmarks",
                "instance": "/v1/jobs",
                "errors": [{"field": "landmarks", "expected": "at least 3 of RW, C, A, OW, V", "found": "2"}],
                "request_id": "6f1c2e0b9d7a4f35",
            }
        }
    )

    type: str = Field(description="URI reference of the kind of problem; its last part is a stable code.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="HTTP status; for a failed job, what a synchronous call would have answered.")
    detail: str = Field(description="What happened this time.")
    instance: str | None = Field(default=None, description="The resource it happened to.")
    errors: list[ProblemItem] = Field(default_factory=list, description="The inputs at fault.")
    request_id: str | None = Field(default=None, description="Name of the request in the logs (X-Request-Id).")


class ServiceError(CochlearError):
    """An error that only the HTTP side knows.

    Args:
        code: kind of error, listed with its HTTP status in this module.
        title: the kind in words.
        detail: what happened.
        retry_after_s: when to try again, or None.
        headers: further headers of the answer.
        items: the inputs at fault, when there are several.
        **terms: `expected`, `found`, `hint`, `field` of `CochlearError`.
    """

    def __init__(
        self,
        code: str,
        title: str,
        detail: str,
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        items: Sequence[ProblemItem] = (),
        **terms: str | None,
    ) -> None:
        """Take the terms of the error."""
        super().__init__(detail, **terms)
        self.code = code  # type: ignore[misc]  # one class for all kinds, where the model has one class for each
        self.title = title  # type: ignore[misc]
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.items = list(items)


def problem_of(failure: JobFailure, instance: str | None = None, request_id: str | None = None) -> Problem:
    """Give the problem document of an error."""
    terms = (failure.field, failure.expected, failure.found, failure.hint)
    item = ProblemItem(field=failure.field, expected=failure.expected, found=failure.found, hint=failure.hint)
    return Problem(
        type=f"/problems/{failure.code}",
        title=failure.title,
        status=STATUS.get(failure.code, 500),
        detail=failure.detail,
        instance=instance,
        errors=[item] if any(term is not None for term in terms) else [],
        request_id=request_id,
    )


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(CochlearError, _on_cochlear_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RedisError, _on_redis_error)
    app.add_exception_handler(OperationalError, _on_redis_error)
    app.add_exception_handler(OSError, _on_os_error)
    app.add_exception_handler(Exception, _on_unforeseen)


def _answer(request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Give the response that carries a problem."""
    placed = problem.model_copy(update={"instance": _instance(request), "request_id": request_id_of(request)})
    # Set here too: the answer to an unforeseen error does not pass the middleware.
    named = {**SECURITY_HEADERS, **(headers or {}), HEADER: placed.request_id or ""}
    return JSONResponse(placed.model_dump(exclude_none=True), problem.status, named, media_type=MEDIA_TYPE)


async def _on_cochlear_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a typed error."""
    if not isinstance(error, CochlearError):
        raise error
    return respond(request, error)


def respond(request: Request, error: CochlearError) -> JSONResponse:
    """Give the answer to a request that ended in a typed error."""
    problem = problem_of(JobFailure.from_error(error))
    if isinstance(error, ServiceError) and error.items:
        problem = problem.model_copy(update={"errors": error.items})
    if problem.status >= 500:
        _log.error("request %s: %s", request_id_of(request), error.code)
    headers = dict(error.headers) if isinstance(error, ServiceError) else {}
    if isinstance(error, ServiceError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return _answer(request, problem, headers)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a path or query parameter that FastAPI refused."""
    if not isinstance(error, RequestValidationError):
        raise error
    items = [
        ProblemItem(field=".".join(str(part) for part in item["loc"][1:]), expected=item["msg"], found=_shown(item))
        for item in error.errors()
    ]
    problem = Problem(
        type="/problems/invalid-input",
        title="The input cannot be used",
        status=422,
        detail="a parameter has a value that is not offered",
        errors=items,
    )
    return _answer(request, problem)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: unknown addresses and methods, JSON that cannot be read."""
    if not isinstance(error, HTTPException):
        raise error
    title = _STATUS_TITLES.get(error.status_code, str(error.detail))
    code = {400: "bad-request", 404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    problem = Problem(type=f"/problems/{code}", title=title, status=error.status_code, detail=title)
    return _answer(request, problem, error.headers)


async def _on_redis_error(request: Request, error: Exception) -> JSONResponse:
    """Answer while the Redis server is away."""
    return respond_redis_away(request, error)


def respond_redis_away(request: Request, error: Exception) -> JSONResponse:
    """Give the answer to a request that needs the Redis server while it is away."""
    _log.error("request %s: Redis cannot be used: %s", request_id_of(request), error)
    problem = Problem(
        type="/problems/queue-unavailable",
        title="The job queue is away",
        status=503,
        detail="the service cannot reach its job records at the moment",
    )
    return _answer(request, problem, {"Retry-After": "5"})


async def _on_os_error(request: Request, error: Exception) -> JSONResponse:
    """Answer while the disk is full; any other error of the system is unforeseen."""
    if not is_storage_full(error):
        return await _on_unforeseen(request, error)
    _log.error("request %s: the storage is full", request_id_of(request))
    return _answer(request, problem_of(STORAGE_FULL), {"Retry-After": "60"})


async def _on_unforeseen(request: Request, error: Exception) -> JSONResponse:
    """Answer a fault of the service without telling its insides."""
    # The log context of the request has ended where this is called.
    named = {EXTRA: {"request_id": request_id_of(request)}}
    _log.error("request %s: unforeseen error", request_id_of(request), exc_info=error, extra=named)
    problem = Problem(
        type="/problems/internal-error",
        title="The service failed unexpectedly",
        status=500,
        detail="an unforeseen error; the log of the service names it under the request id",
    )
    return _answer(request, problem)


def _shown(item: Any) -> str:  # noqa: ANN401
    """Say what was refused without repeating it; only numbers are given as they came."""
    value = item.get("input")
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9.]{1,20}", value):
        return f"text of {len(value)} characters"
    return repr(value)[:80]


def _instance(request: Request) -> str | None:
    """Give the address of the request, unless a part of it is neither the service's own word nor the id of a job."""
    if "route" not in request.scope:
        return None
    values = map(str, request.scope.get("path_params", {}).values())
    known = all(value in _OWN_WORDS or _JOB_ID.fullmatch(value) for value in values)
    return request.url.path if known else None
