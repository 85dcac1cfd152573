"""One attempt at a job, seen from the worker: its lease, its signs of life, its progress, its reasons to stop."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from types import TracebackType

from redis.exceptions import RedisError

from worker import lifecycle
from worker.job_store import JobStore

_log = logging.getLogger(__name__)

STAGES: dict[str, tuple[float, float]] = {
    "load": (0.0, 0.08),
    "check": (0.08, 0.12),
    "resample": (0.12, 0.17),
    "register": (0.17, 0.35),
    "refine": (0.35, 0.7),
    "segment": (0.17, 0.7),
    "mesh": (0.7, 0.72),
    "mask": (0.72, 0.82),
    "write": (0.82, 0.97),
    "publish": (0.97, 1.0),
}
"""The stages of a job in order, each with its share of the whole; `segment` takes the place of `register` and `refine`
when the model is a segmentation network."""

_WRITE_EVERY_S = 0.5
_RETRY_BEAT_S = 0.2


class StopWorkError(Exception):
    """The attempt must stop: the job was canceled, or is no longer this worker's."""


class Attempt:
    """A claimed job; beats in a thread of its own while used as a context manager.

    Args:
        store: the records.
        job_id: the job.
        lease: the token this attempt claimed it with.
    """

    def __init__(self, store: JobStore, job_id: str, lease: str) -> None:
        """Prepare; beating starts on entering."""
        self._store = store
        self.job_id = job_id
        self.lease = lease
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._beat,), name=f"beat-{job_id}", daemon=True
        )
        self._stage = ""
        self._timed = ""
        self._stage_began = 0.0
        self._stage_s: dict[str, float] = {}
        self._progress = 0.0
        self._written_at = 0.0

    def __enter__(self) -> Attempt:
        """Start beating."""
        # The first sign of life is left by the thread: a server that is away must not end the attempt here.
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop beating."""
        self._ended.set()
        self._thread.join()

    def report(self, stage: str, fraction: float) -> None:
        """Note how far the job is.

        Args:
            stage: one of `STAGES`.
            fraction: share of that stage that is done, 0 to 1.

        Raises:
            StopWorkError: when the job was canceled or taken away.
        """
        begin, end = STAGES[stage]
        self._clock(stage)
        self._progress = max(self._progress, begin + (end - begin) * min(max(fraction, 0.0), 1.0))
        if stage == self._stage and time.monotonic() - self._written_at < _WRITE_EVERY_S:
            return
        self._stage, self._written_at = stage, time.monotonic()
        record = lifecycle.report_progress(self._store, self.job_id, self.lease, stage, round(self._progress, 3))
        if record is None:
            raise StopWorkError("the job is no longer held by this attempt")
        if record.cancel_requested:
            raise StopWorkError("the job was canceled")

    def stage_seconds(self) -> dict[str, float]:
        """Give the time spent in each stage so far, in seconds, the present one included."""
        self._clock(self._stage)
        return {stage: round(seconds, 4) for stage, seconds in self._stage_s.items()}

    def _clock(self, stage: str) -> None:
        """Add the time since the last report to the stage it was spent in; `stage` is the one that goes on."""
        now = time.monotonic()
        if self._timed:
            self._stage_s[self._timed] = self._stage_s.get(self._timed, 0.0) + now - self._stage_began
        self._timed, self._stage_began = stage, now

    def _beat(self) -> None:
        """Leave signs of life until the attempt ends; a server that is away for a moment is no reason to stop."""
        interval = self._store.stale_after_s / 4
        pause = 0.0
        while not self._ended.wait(pause):
            try:
                self._store.beat(self.job_id, self.lease)
                pause = interval
            except RedisError:
                if pause != _RETRY_BEAT_S:
                    _log.warning("job %s: no sign of life could be left, Redis is away", self.job_id)
                # As soon as it is back, it must hear from us, or the job is taken for abandoned.
                pause = min(interval, _RETRY_BEAT_S)
