"""Routes about the service itself: links and models."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request

from api.schemas import LinkMap

router = APIRouter()

NOTICE = "Research use only. Not for diagnosis or treatment."


@router.get("/", tags=["service"], summary="What is where")
def links(request: Request) -> LinkMap:
    """Give the addresses of the service."""
    prefix = request.scope.get("root_path", "").rstrip("/")
    addresses = {
        "jobs": "/v1/jobs",
        "batches": "/v1/batches",
        "models": "/v1/models",
        "aliases": "/v1/aliases",
        "livez": "/livez",
        "readyz": "/readyz",
        "startupz": "/startupz",
        "metrics": "/metrics",
        "openapi": "/openapi.json",
        "docs": "/docs",
    }
    return LinkMap(
        version=version("cochlear"), notice=NOTICE, links={name: prefix + path for name, path in addresses.items()}
    )
