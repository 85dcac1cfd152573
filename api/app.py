"""The HTTP application: `uvicorn api.app:create_app --factory`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import (
    event_routes,
    health,
    isolation,
    job_routes,
    metrics_routes,
    model_routes,
    problems,
    reference_page,
    result_routes,
    service_routes,
)
from api.access.protect import protect
from api.access_log import AccessLogMiddleware, HttpMetrics
from api.batches import routes as batch_routes
from api.context import Context
from api.request_id import RequestIdMiddleware
from api.webhooks.courier import deliveries
from worker import logs
from worker.settings import Settings

_DESCRIPTION = """
Send the CT of an ear, get back where modiolus, scala tympani, scala vestibuli and the bony labyrinth are: meshes with
vertex correspondence across patients, and voxel masks on the grid of the image.

1. `POST /v1/jobs` with the NIfTI file and, for a raw CT, its landmarks: **202** and the address of the job.
2. `GET` that address until its `state` is `succeeded`, `failed`, `canceled` or `expired`; with `?wait=` the
   answer waits for a change, and `links.events` streams every change. Or wait in the first request: `Prefer: wait=30`.
3. Fetch the files that `links.results` names.

Errors are RFC 9457 problem documents (`application/problem+json`). """


def create_app(settings: Settings | None = None) -> FastAPI:
    """Give the application.

    Args:
        settings: None to read them from the environment.

    Raises:
        SettingsError: when no Redis server is named.
    """
    context = Context.of(Settings() if settings is None else settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Set up logging, after whatever server runs this has; check uploads, tell of changes, deliver webhooks."""
        logs.configure(context.settings)
        isolation.prepare()
        await context.watch.start()
        async with deliveries(context.settings):
            with context.watch.closed_by_signals():
                yield
        await context.watch.stop()
        await app.state.guard.close()
        app.state.health.close()
        app.state.collector.close()
        context.close()

    app = FastAPI(
        title="cochlear",
        version=version("cochlear"),
        summary="Segmentation of the cochlea in CT, implanted or not.",
        description=_DESCRIPTION + service_routes.NOTICE,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    app.state.health = health.HealthChecks(context.settings)
    app.state.collector = metrics_routes.ServiceCollector(context)
    app.state.http_metrics = HttpMetrics()
    app.state.guard = protect(app, context.settings)
    app.add_middleware(AccessLogMiddleware, metrics=app.state.http_metrics)
    app.add_middleware(RequestIdMiddleware)
    problems.install(app)
    reference_page.install(app)
    for routes in (
        service_routes,
        health,
        metrics_routes,
        model_routes,
        job_routes,
        event_routes,
        result_routes,
        batch_routes,
    ):
        app.include_router(routes.router)
    return app
