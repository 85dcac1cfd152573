"""Routes about the service itself: links and models."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request

from api.access.caller import Reader
from api.context import ContextOf
from api.schemas import LinkMap, Model, ModelList, ModelStructure
from model.bundle import bundle_digest, default_checkpoints, list_bundles
from model.structures import structure_by_id

router = APIRouter()

NOTICE = "Research use only. Not for diagnosis or treatment."


@router.get("/", tags=["service"], summary="What is where")
def links(request: Request) -> LinkMap:
    """Give the addresses of the service."""
    prefix = request.scope.get("root_path", "").rstrip("/")
    addresses = {
        "jobs": "/v1/jobs",
        "models": "/v1/models",
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


@router.get("/v1/models", tags=["models"], summary="List models")
def models(context: ContextOf, _: Reader) -> ModelList:
    """Give the model bundles that a job may name."""
    settings = context.settings
    folder = default_checkpoints() if settings.checkpoints is None else settings.checkpoints
    return ModelList(
        models=[
            Model(
                name=manifest.name,
                version=manifest.version,
                default=manifest.name == settings.bundle,
                digest=bundle_digest(folder / manifest.name),
                intended_use=manifest.intended_use,
                limits=list(manifest.limits),
                licence=manifest.licence,
                citation=manifest.citation,
                structures=[_structure(structure.id) for structure in manifest.structures],
            )
            for manifest in list_bundles(folder)
        ]
    )


def _structure(structure_id: str) -> ModelStructure:
    """Give what is said about a structure."""
    known = structure_by_id(structure_id)
    return ModelStructure(id=known.id, code=known.code, label=known.label, name=known.name)
