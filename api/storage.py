"""Uploads are refused before the disk is full, so that what was accepted can be finished."""

from __future__ import annotations

from fastapi import Request

from api.problems import ServiceError
from worker.disk import disk_space
from worker.settings import Settings
from worker.storage import STORAGE_FULL

_RETRY_AFTER_S = 60


def require_space(settings: Settings, request: Request) -> None:
    """Refuse an upload when the disk of the data folder is nearly full, or would be with it.

    Raises:
        ServiceError: `storage-full`, 503 with `Retry-After`.
    """
    declared = request.headers.get("content-length", "")
    space = disk_space(settings.data_dir, settings.min_free_bytes)
    if space.free - (int(declared) if declared.isdigit() else 0) < space.floor:
        raise ServiceError(
            STORAGE_FULL.code,
            STORAGE_FULL.title,
            "the disk of the service has no room for the upload",
            hint="try again later, or tell the operator",
            retry_after_s=_RETRY_AFTER_S,
        )
