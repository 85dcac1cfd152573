"""Makes every job end: requeues or fails those whose worker died, announces forgotten ones, expires old ones."""

from __future__ import annotations

import logging
import shutil
import time
from datetime import timedelta
from functools import partial

from worker import lifecycle, retention
from worker.artifacts import ArtifactStore
from worker.batches import BatchStore
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState
from worker.queue import JobQueue
from worker.routes import QUEUES, QueueName
from worker.runner import TIME_LIMIT, adopt_results, worker_lost
from worker.settings import Settings

_log = logging.getLogger(__name__)

_ORPHAN_AGE_S = 3600.0
_ANNOUNCED_AT_ONCE = 8


class Reconciler:
    """Compares records with signs of life; any number of workers may do so at once, each step is compare-and-set.

    Args:
        store: the records.
        artifacts: the files.
        queue: where jobs are announced again.
        settings: limits.
    """

    def __init__(self, store: JobStore, artifacts: ArtifactStore, queue: JobQueue, settings: Settings) -> None:
        """Keep the parts."""
        self._store = store
        self._artifacts = artifacts
        self._queue = queue
        self._settings = settings
        self._suspects: dict[str, float] = {}
        self._batches = BatchStore(settings.required_redis_url(), store)

    def run_once(self) -> None:
        """Look at all jobs once."""
        running = [self._store.get(job_id) for job_id in self._store.running_ids()]
        abandoned = [record for record in running if record is not None and self._store.is_abandoned(record)]
        for record in self._confirmed(abandoned):
            self._settle(record)
        for queue in QUEUES:
            if not any(record and record.queue == queue for record in running) or self._queue.is_empty([queue]):
                self._announce_waiting(queue)
        self._expire()
        self._forget()
        self._batches.forget_empty()

    def sweep(self) -> None:
        """Erase what an interrupted step left: uploads, and job folders whose record is gone or wants no files."""
        for job_id in self._artifacts.orphans(_ORPHAN_AGE_S, self._wants_files):
            _log.info("job %s: files without a use are erased", job_id)
            self._artifacts.erase(job_id)
        for job_id in self._artifacts.left_attempts(_ORPHAN_AGE_S):
            ended = self._store.get(job_id)
            if ended is not None and ended.state.finished:
                self._artifacts.tidy(job_id)
        # Files are dated by this machine's clock, not by that of the Redis server.
        limit = time.time() - _ORPHAN_AGE_S
        uploads = self._settings.uploads_dir
        for path in uploads.iterdir() if uploads.is_dir() else ():
            if path.stat().st_mtime < limit:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _wants_files(self, job_id: str) -> bool:
        """Tell whether a job of this id still has a use for its files."""
        record = self._store.get(job_id)
        return record is not None and record.state not in (JobState.EXPIRED, JobState.CANCELED)

    def _confirmed(self, abandoned: list[JobRecord]) -> list[JobRecord]:
        """Give those that looked abandoned a while ago already, and still do.

        No sign of life is no proof of a death when Redis itself was away, its clock jumped or this worker stood still:
        whoever lives has beaten again by the second look.
        """
        now = time.monotonic()
        seen = {record.lease or record.id: record for record in abandoned}
        self._suspects = {name: self._suspects.get(name, now) for name in seen}
        return [record for name, record in seen.items() if now - self._suspects[name] >= self._settings.beat_every_s]

    def _settle(self, record: JobRecord) -> None:
        """End or restart a job whose worker is gone."""
        job_id, lease = record.id, record.lease
        if self._artifacts.is_published(job_id):
            if adopt_results(job_id, lease, self._store, self._artifacts) is not None:
                self._artifacts.tidy(job_id)
        elif record.cancel_requested:
            if lifecycle.confirm_cancel(self._store, job_id, lease) is not None:
                self._artifacts.erase(job_id)
        elif self._is_overdue(record):
            lifecycle.fail(self._store, job_id, lease, TIME_LIMIT)
        elif record.attempt >= self._settings.max_attempts:
            lifecycle.fail(self._store, job_id, lease, worker_lost(record.attempt))
        elif lifecycle.requeue(self._store, job_id, lease, count_attempt=True) is not None:
            _log.warning("job %s: its worker died, it is queued again", job_id)
            self._queue.send(job_id, record.queue)

    def _is_overdue(self, record: JobRecord) -> bool:
        """Tell whether the attempt had all its time, so that a further one would not end either."""
        if record.started_at is None:
            return False
        return (self._store.now() - record.started_at).total_seconds() >= self._settings.time_limit_s

    def _announce_waiting(self, queue: QueueName) -> None:
        """Announce the first jobs of a queue again when they have waited although workers are free.

        Messages may be lost. A message too many does no harm: the job it names is under way or done.
        """
        for head in self._store.first_queued(_ANNOUNCED_AT_ONCE, queue):
            if (self._store.now() - head.updated_at).total_seconds() < self._settings.stale_after_s:
                continue
            # The change renews updated_at, so that of several workers one announces, and not again at once.
            if self._store.change(head.id, partial(_if_unchanged, head)) is not None:
                self._queue.send(head.id, queue)

    def _expire(self) -> None:
        """Erase the files of jobs that have outlived their time; their records stay for a while, to say so."""
        now = self._store.now()
        ids = self._store.ids_before(retention.EXPIRING, now)
        if self._settings.retention_s is not None:
            ids += self._store.finished_before(now - timedelta(seconds=self._settings.retention_s))
        for job_id in dict.fromkeys(ids):
            # The record says so first: whoever still sees the files finds them, and those left by a crash are swept up.
            if lifecycle.expire(self._store, job_id) is not None:
                self._artifacts.erase(job_id)

    def _forget(self) -> None:
        """Erase the records of jobs that expired long ago."""
        if self._settings.forget_after_s is None:
            return
        limit = self._store.now() - timedelta(seconds=self._settings.forget_after_s)
        for job_id in self._store.ids_before(retention.FORGETTABLE, limit):
            self._store.remove(job_id)
            self._artifacts.erase(job_id)


def _if_unchanged(seen: JobRecord, old: JobRecord) -> JobRecord | None:
    """Give a waiting record when nobody changed it since it was seen."""
    return old if old.state is JobState.QUEUED and old.updated_at == seen.updated_at else None
