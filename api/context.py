"""What the routes work with: settings, records, files and queue of one application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api.models import Models
from worker.aliases import AliasStore
from worker.artifacts import ArtifactStore
from worker.batches import BatchStore
from worker.job_store import JobStore
from worker.queue import JobQueue
from worker.redis_connection import connect
from worker.settings import Settings
from worker.webhooks import Outbox


@dataclass(frozen=True)
class Context:
    """The parts of a running service that HTTP touches.

    Attributes:
        settings: limits and names.
        store: the job records.
        artifacts: the files of the jobs.
        queue: announces jobs.
        aliases: by which models may be named.
        models: the models on offer.
        batches: the batches of jobs.
        outbox: how the telling of jobs stands.
    """

    settings: Settings
    store: JobStore
    artifacts: ArtifactStore
    queue: JobQueue
    aliases: AliasStore
    models: Models
    batches: BatchStore
    outbox: Outbox

    @classmethod
    def of(cls, settings: Settings) -> Context:
        """Give the parts for these settings; connections are made when first used."""
        redis_url = settings.required_redis_url()
        aliases = AliasStore(connect(redis_url))
        store = JobStore(redis_url, settings.stale_after_s)
        return cls(
            settings,
            store,
            ArtifactStore(settings.artifacts_url),
            JobQueue(settings),
            aliases,
            Models(settings, aliases),
            BatchStore(redis_url, store),
            Outbox(redis_url),
        )

    def close(self) -> None:
        """Close the connections."""
        self.store.close()
        self.queue.close()
        self.aliases.close()
        self.batches.close()
        self.outbox.close()


def _context(request: Request) -> Context:
    """Give the context of the application that handles a request."""
    return cast("Context", request.app.state.context)


ContextOf = Annotated[Context, Depends(_context)]
"""Route parameter that receives the context."""
