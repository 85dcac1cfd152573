"""The worker process: a Celery worker that beats, reconciles, and gives its job back when it is stopped."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import warnings
from typing import Any

from celery import bootsteps, signals
from celery.exceptions import SecurityWarning
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker import canary, lifecycle, logs, redis_errors
from worker.artifacts import ArtifactStore
from worker.cancellation import LOOK_EVERY_S, Stopper
from worker.engine import Engine
from worker.hearing import Hearing
from worker.job_store import JobStore
from worker.jobs import JobRecord
from worker.presence import Presence
from worker.processes import die_with_parent, limit_memory, worker_name
from worker.queue import TASK, JobQueue, create_celery
from worker.reconciler import Reconciler
from worker.redis_connection import connect
from worker.runner import run_job
from worker.self_report import SelfReport
from worker.settings import Settings

_log = logging.getLogger(__name__)

_SWEEP_EVERY_S = 600.0
_RECYCLE = 0x9B
"""Exit status of a pool child that asks to be replaced (billiard's `EX_RECYCLE`)."""


class WorkerService:
    """One worker of the service.

    The pool is prefork with one child: a child can be killed at its time limit and its memory comes back, which threads
    do not offer. Torch is imported in the child only, as its thread pools do not survive a fork.

    Args:
        settings: names Redis, the files and the limits.
    """

    def __init__(self, settings: Settings) -> None:
        """Settle the name and the parts."""
        self._settings = settings
        self._process_id = os.getpid()
        self.name = worker_name(self._process_id)
        self._store = JobStore(settings.required_redis_url(), settings.stale_after_s)
        self._queue = JobQueue(settings)
        # A run outlasts a restart of Redis; its time limit ends the waiting.
        self._patient_store = JobStore(settings.required_redis_url(), settings.stale_after_s, settings.time_limit_s)
        self._artifacts = ArtifactStore(settings.artifacts_url)
        self.hearing = Hearing(self._queue, settings.queues)
        self._reconciler = Reconciler(self._store, self._artifacts, self._queue, settings)
        self._engine = Engine(settings.checkpoints, settings.device, settings.loaded_bundles)
        self.stopper = Stopper(self._store, self._artifacts, self.name, settings.stop_grace_s)
        self._presence = Presence(connect(settings.required_redis_url()), settings.stale_after_s, settings.deaf_after_s)
        self._report = SelfReport(self.name, self._presence, self._engine, settings)
        self._app = create_celery(settings)
        self._canary = canary.Canary(self._app, self.name, self._presence)
        self._released: list[JobRecord] = []

    def run(self) -> int:
        """Work until told to stop; give the exit code."""
        app = self._app
        logs.configure(self._settings, self.name)
        self._artifacts.check()
        # Celery then leaves logging, standard output and error as they are, in the pool child too.
        signals.setup_logging.connect(_keep_logging, weak=False)
        app.task(name=TASK)(self._segment)
        app.task(name=canary.TASK)(self._report.hear_canary)
        app.steps["worker"].add(_timer_step(self, self._settings.beat_every_s, self._canary))
        signals.worker_process_init.connect(self._bind_pool_child, weak=False)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        # It warns root of pickled messages; ours are JSON, and others are refused.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        worker = app.Worker(
            pool="prefork",
            concurrency=1,
            hostname=f"cochlear@{self.name}",
            loglevel="INFO",
            optimization="fair",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
        )
        worker.start()
        self._announce_released()
        return int(worker.exitcode or 0)

    def beat(self) -> None:
        """Leave a sign of life and look after all jobs; called by the event loop of the worker."""
        try:
            self._store.beat_worker(self.name)
            self._report.report_child()
            self._reconciler.run_once()
        except RedisError as error:
            _log.warning("signs of life and reconciliation are put off: Redis %s", redis_errors.reason(error))
        except (OperationalError, OSError):
            _log.warning("signs of life and reconciliation are put off", exc_info=True)

    def sweep(self) -> None:
        """Erase leftovers; called by the event loop of the worker."""
        try:
            self._reconciler.sweep()
        except (RedisError, OSError):
            _log.warning("the sweep of leftovers is put off", exc_info=True)

    def _segment(self, job_id: str) -> None:
        """Run a job (the body of the Celery task, in the pool child)."""
        self._report.report()
        lease = f"{self.name}:{secrets.token_hex(8)}"
        fit = run_job(job_id, lease, self._patient_store, self._artifacts, self._engine, self._settings)
        self._report.report()
        if not fit:
            # The job has ended; a fresh process takes the next one, with all memory and a whole device context.
            raise SystemExit(_RECYCLE)

    def _bind_pool_child(self, **_: object) -> None:
        """Make a pool child die with its worker, whose death it would otherwise notice only after its job."""
        die_with_parent(self._process_id, signal.SIGKILL)
        if self._settings.memory_limit_bytes is not None:
            limit_memory(self._settings.memory_limit_bytes)

    def _on_shutting_down(self, **_: object) -> None:
        """Give running jobs back at once, so that stopping need not wait and others can take them.

        Celery calls this inside a signal handler; the work goes to a thread because the loop may hold locks.
        """
        threading.Thread(target=self._release, name="release").start()

    def _release(self) -> None:
        """Put the jobs of this worker back into the queue without counting the attempt."""
        try:
            self._store.forget_worker(self.name)
            self._presence.forget(self.name)
            self._canary.forget()
            for job_id in self._store.running_ids():
                record = self._store.get(job_id)
                if record is None or record.lease is None or not record.lease.startswith(self.name + ":"):
                    continue
                if lifecycle.requeue(self._store, job_id, record.lease, count_attempt=False) is not None:
                    self._released.append(record)
        except RedisError:
            _log.warning("running jobs could not be given back; they will be found abandoned", exc_info=True)

    def _announce_released(self) -> None:
        """Announce the jobs given back, after this worker has stopped listening."""
        try:
            for record in self._released:
                self._queue.send(record.id, record.queue)
        except OperationalError:
            _log.warning("jobs given back could not be announced; the next worker will", exc_info=True)


def _keep_logging(**_: object) -> None:
    """Receive Celery's request to set up logging, which keeps it from doing so itself."""


def _timer_step(service: WorkerService, beat_every_s: float, own_canary: canary.Canary) -> type[Any]:
    """Give a step of the worker's start-up that calls the service from the worker's own event loop.

    A loop that hangs thereby stops beating.
    """

    class TimerStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Beats and sweeps."""

        requires = frozenset({"celery.worker.components:Timer", "celery.worker.components:Pool"})

        def __init__(self, parent: object, **options: object) -> None:
            """Remember nothing; timers are made at start."""
            super().__init__(parent, **options)
            self._timers: list[Any] = []

        def start(self, parent: Any) -> None:  # noqa: ANN401
            """Begin."""
            service.beat()
            own_canary.send()
            self._timers = [
                parent.timer.call_repeatedly(own_canary.period_s, own_canary.send),
                parent.timer.call_repeatedly(own_canary.period_s, own_canary.check),
                parent.timer.call_repeatedly(beat_every_s, service.beat),
                parent.timer.call_repeatedly(beat_every_s, service.hearing.check),
                parent.timer.call_repeatedly(_SWEEP_EVERY_S, service.sweep),
                parent.timer.call_repeatedly(LOOK_EVERY_S, lambda: service.stopper.look(parent.pool.info["processes"])),
            ]

        def stop(self, parent: Any) -> None:  # noqa: ANN401
            """End."""
            for timer in self._timers:
                timer.cancel()
            self._timers = []

    return TimerStep
