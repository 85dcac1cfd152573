"""The canary: small messages a worker sends to itself, to learn whether it still hears.

A worker may live and beat while the connection on which it waits for messages is dead. So each worker also listens to a
queue of its own, on the same connection as the queue of jobs: kombu's Redis transport waits for all in one BRPOP.
What comes there is consumed without acknowledgement, so it is never delivered again, and the list in Redis expires, so
that nothing is left of a worker that died.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import kombu
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.presence import Presence
from worker.queue import KEY_PREFIX

_log = logging.getLogger(__name__)

TASK = "cochlear.canary"
DEAF_EXIT_STATUS = 75
"""What a deaf worker ends with: EX_TEMPFAIL of sysexits.h."""


class Canary:
    """The canaries of one worker.

    Args:
        app: the Celery application of the worker.
        worker: name of the worker.
        presence: where consumed messages are noted; its `deaf_after_s` rules.
    """

    def __init__(self, app: Any, worker: str, presence: Presence) -> None:  # noqa: ANN401
        """Add the queue to those the worker consumes."""
        self._app = app
        self._worker = worker
        self._presence = presence
        untyped: Any = kombu
        name = f"{TASK}.{worker}"
        self._queue = untyped.Queue(name, routing_key=name, no_ack=True)
        app.amqp.queues.select_add(self._queue)
        # Celery puts it on the exchange of the jobs; by the nameless one it is reached by its name alone, and no
        # binding is stored that would outlive the worker.
        self._queue.exchange = untyped.Exchange("")
        self._unheard_since: float | None = None

    @property
    def period_s(self) -> float:
        """Seconds between two canaries: four chances before a worker counts as deaf."""
        return self._presence.deaf_after_s / 4

    def send(self) -> None:
        """Send a canary, unless one is still unheard in the queue; called by the event loop of the worker."""
        name = KEY_PREFIX + self._queue.name
        try:
            if self._presence.redis.llen(name) == 0:
                # Not acknowledged, so the queue never holds more than this one.
                self._app.send_task(TASK, queue=self._queue, retry=False)
            self._presence.redis.expire(name, max(1, round(4 * self._presence.deaf_after_s)))
            if self._unheard_since is None:
                self._unheard_since = self._presence.now()
        except (RedisError, OperationalError, OSError):
            # Nothing can be learned about hearing while Redis is away.
            self._unheard_since = None
            _log.warning("no canary could be sent, Redis is away")

    def is_deaf(self) -> bool:
        """Tell whether canaries went unheard for twice the allowed time while this worker was idle.

        Raises:
            RedisError: while Redis is away.
        """
        since = self._unheard_since
        if since is None:
            return False
        if self._presence.consumed_at(self._worker) >= since or self._presence.is_busy(self._worker):
            self._unheard_since = None
            return False
        return self._presence.now() - since > 2 * self._presence.deaf_after_s

    def check(self) -> None:
        """End this process when it is deaf, for its supervisor to start it again; called by its event loop."""
        try:
            deaf = self.is_deaf()
        except RedisError:
            self._unheard_since = None
            return
        if deaf:
            _log.error("this worker beats but hears nothing; it ends, to be started again")
            logging.shutdown()
            # An orderly stop talks over the dead connection. It holds no job, and its pool child dies with it.
            os._exit(DEAF_EXIT_STATUS)

    def forget(self) -> None:
        """Take the queue away, because the worker stops."""
        self._presence.redis.delete(KEY_PREFIX + self._queue.name)
