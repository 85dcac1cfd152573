"""Stops a canceled run that does not stop by itself, so that its processor or device is free for the next job.

A run looks between its steps whether it was canceled. When one step takes too long for that, the worker interrupts its
pool child (SIGUSR1, which Celery's child turns into an exception), and when that has no effect, as within native code,
kills it. A canceled job gets its final state only from the child itself or after the child is dead.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from worker import lifecycle
from worker.artifacts import ArtifactStore
from worker.job_store import JobStore
from worker.jobs import JobRecord

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
_SETTLE_S = 0.05
_DEATH_S = 2.0


@dataclass
class _Overdue:
    """A canceled run that has not stopped yet: since when it is known, and what was done about it."""

    lease: str
    since: float
    interrupted: bool = False


class Stopper:
    """Looks after the canceled runs of one worker.

    Args:
        store: the records.
        artifacts: the files.
        worker: name of the worker, with which the leases of its runs begin.
        grace_s: seconds a run gets to stop by itself, and then again to heed the interruption.
    """

    def __init__(self, store: JobStore, artifacts: ArtifactStore, worker: str, grace_s: float) -> None:
        """Know of no canceled run yet."""
        self._store = store
        self._artifacts = artifacts
        self._worker = worker
        self._grace_s = grace_s
        self._overdue: dict[str, _Overdue] = {}

    def look(self, children: Sequence[int]) -> None:
        """Look once; called by the event loop of the worker.

        Args:
            children: process ids of the pool; a worker has one.
        """
        try:
            running = map(self._store.get, self._store.running_ids())
            canceled = {record.id: record for record in running if record is not None and self._is_ours(record)}
            self._overdue = {job_id: run for job_id, run in self._overdue.items() if job_id in canceled}
            for record in canceled.values():
                self._press(record, children)
        except (RedisError, OSError):
            _log.warning("canceled runs are looked after later", exc_info=True)

    def _is_ours(self, record: JobRecord) -> bool:
        """Tell whether a record is that of a canceled run of this worker."""
        if record.lease is None:
            return False
        return record.cancel_requested and record.lease.startswith(self._worker + ":")

    def _press(self, record: JobRecord, children: Sequence[int]) -> None:
        """Do what is due about a run: nothing, interrupt, or kill."""
        run = self._overdue.get(record.id)
        if run is None or run.lease != record.lease:
            self._overdue[record.id] = _Overdue(record.lease or "", time.monotonic())
            return
        if time.monotonic() - run.since < self._grace_s or len(children) != 1:
            return
        number = signal.SIGKILL if run.interrupted else signal.SIGUSR1
        if not self._send(record, children[0], number):
            return
        if number == signal.SIGUSR1:
            _log.info("job %s: canceled and still running, it is interrupted", record.id)
            run.interrupted, run.since = True, time.monotonic()
            return
        _log.warning("job %s: canceled and heeds no interruption, its process was killed", record.id)
        if has_ended(children[0], _DEATH_S) and lifecycle.confirm_cancel(self._store, record.id, record.lease):
            self._artifacts.erase(record.id)

    def _send(self, record: JobRecord, child: int, number: int) -> bool:
        """Signal the child, unless it has gone on to something else in the meantime; tell whether it was signaled.

        The child is held while the record is read again: what it says then stays true until the signal is there.
        """
        try:
            os.kill(child, signal.SIGSTOP)
            try:
                # A command the child sent just before reaches Redis first.
                time.sleep(_SETTLE_S)
                now = self._store.get(record.id)
                due = now is not None and now.lease == record.lease and self._is_ours(now)
                if due:
                    os.kill(child, number)
            finally:
                os.kill(child, signal.SIGCONT)
        except ProcessLookupError:
            return False
        return due


def has_ended(process_id: int, within_s: float) -> bool:
    """Wait until a child of this process has ended, leaving it to be collected by whoever does so; tell whether it has.

    Args:
        process_id: the child.
        within_s: seconds to wait at most.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:
            return True
        time.sleep(0.01)
    return False
