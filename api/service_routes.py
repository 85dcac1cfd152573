"""Routes about the service itself: links, models, health, kinds of problems."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from api.access.caller import Reader
from api.context import Context, ContextOf
from api.schemas import Check, Health, LinkMap, Model, ModelList, ModelStructure, Readiness
from model.bundle import bundle_digest, default_checkpoints, find_bundle, list_bundles
from model.errors import BundleError
from model.structures import structure_by_id

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
        "livez": "/livez",
        "readyz": "/readyz",
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


@router.get("/livez", tags=["health"], summary="Does the process live?")
def livez() -> Health:
    """Answer whenever the process can."""
    return Health()


@router.get(
    "/readyz",
    tags=["health"],
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Jobs are not worked on; `checks` says why."}},
    summary="Are jobs taken and worked on?",
)
def readyz(context: ContextOf) -> Response:
    """Check that records can be written, a worker beats and the default bundle is there."""
    checks = {"redis": _check_redis(context), "worker": _check_worker(context), "bundle": _check_bundle(context)}
    readiness = Readiness(ready=all(check.ok for check in checks.values()), checks=checks)
    return JSONResponse(readiness.model_dump(), 200 if readiness.ready else 503)


def _structure(structure_id: str) -> ModelStructure:
    """Give what is said about a structure."""
    known = structure_by_id(structure_id)
    return ModelStructure(id=known.id, code=known.code, label=known.label, name=known.name)


def _check_redis(context: Context) -> Check:
    """Write to the job records."""
    try:
        context.store.check_write()
    except RedisError as error:
        return Check(ok=False, reason=f"takes no writes ({type(error).__name__})")
    return Check(ok=True, reason="takes writes")


def _check_worker(context: Context) -> Check:
    """Look for signs of life."""
    try:
        count = len(context.store.live_workers())
    except RedisError:
        return Check(ok=False, reason="unknown while Redis is away")
    return Check(ok=count > 0, reason=f"{count} worker{'' if count == 1 else 's'} beat{'s' if count == 1 else ''}")


def _check_bundle(context: Context) -> Check:
    """Look for the default bundle."""
    name = context.settings.bundle
    try:
        find_bundle(name, context.settings.checkpoints)
    except BundleError as error:
        return Check(ok=False, reason=error.detail)
    return Check(ok=True, reason=f"{name} is there")
