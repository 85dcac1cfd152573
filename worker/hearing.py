"""Noticing that this worker no longer receives messages although some wait, and having it connect anew.

A message whose acknowledgement fails because Redis is away at that moment stays counted as one in hand (kombu keeps it
among the delivered ones and only logs the error); with a prefetch of one the worker would never ask for another, while
its process lives and its connection works. Closing the connection forgets the count.
"""

from __future__ import annotations

from collections.abc import Sequence

from celery.worker import state
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.queue import JobQueue
from worker.routes import QueueName

_LOOKS = 2


class Hearing:
    """Looks, from the event loop of a worker, whether messages wait that it should have taken.

    Args:
        queue: where they wait.
        names: the queues that the worker takes from.
    """

    def __init__(self, queue: JobQueue, names: Sequence[QueueName]) -> None:
        """Begin with a worker that hears."""
        self._queue = queue
        self._names = names
        self._unheard = 0

    def check(self) -> None:
        """Look once; call it as often as the worker beats.

        Raises:
            redis.exceptions.ConnectionError: when messages waited at several looks while this worker held none. Out of
                a timer of the event loop, Celery takes it for a lost connection and makes a new one.
        """
        idle = not state.reserved_requests and not state.active_requests
        try:
            self._unheard = self._unheard + 1 if idle and not self._queue.is_empty(self._names) else 0
        except (OperationalError, OSError):
            return  # a server that is away is noticed by whoever waits for its messages
        if self._unheard >= _LOOKS:
            self._unheard = 0
            raise RedisConnectionError("messages wait and none is received")
