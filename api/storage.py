"""Uploads are refused before the disk is full, so that what was accepted can be finished."""

from __future__ import annotations

import errno

from fastapi import FastAPI, Request
from starlette.responses import Response

from api.problems import ServiceError, respond
from worker.disk import disk_space
from worker.settings import Settings

_RETRY_AFTER_S = 60
_FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(settings: Settings, request: Request) -> None:
    """Refuse an upload when the disk of the data folder is nearly full, or would be with it.

    Raises:
        ServiceError: `storage-full`, 503 with `Retry-After`.
    """
    declared = request.headers.get("content-length", "")
    space = disk_space(settings.data_dir, settings.min_free_bytes)
    if space.free - (int(declared) if declared.isdigit() else 0) < space.floor:
        raise storage_full()


def storage_full() -> ServiceError:
    """Give the refusal; 503 and not 507, which by RFC 4918 must not be tried again without being asked."""
    return ServiceError(
        "storage-full",
        "The storage is full",
        "the disk of the service has no room for the upload",
        hint="try again later, or tell the operator",
        retry_after_s=_RETRY_AFTER_S,
    )


def install(app: FastAPI) -> None:
    """Make a disk that fills up under a request the same refusal; other errors of the system stay unforeseen."""

    async def on_os_error(request: Request, error: Exception) -> Response:
        if isinstance(error, OSError) and error.errno in _FULL:
            return respond(request, storage_full())
        raise error

    app.add_exception_handler(OSError, on_os_error)
