"""The Celery application: how job ids travel from the API to a worker.

A message carries a job id and nothing else; it may come twice or never. What is true about a job stands in its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kombu
from celery import Celery

from worker.redis_connection import broker_address
from worker.routes import QUEUES, QueueName, message_queue
from worker.settings import Settings

TASK = "cochlear.segment"
KEY_PREFIX = "cochlear:broker:"
"""What the keys of the broker begin with."""


_VISIBILITY_MARGIN_S = 600.0


def visibility_timeout_s(settings: Settings) -> float:
    """Give the seconds after which a message that is not acknowledged is delivered again: later than any lawful run."""
    return settings.time_limit_s + settings.stop_grace_s + _VISIBILITY_MARGIN_S


def create_celery(settings: Settings) -> Any:  # noqa: ANN401  (Celery ships without types)
    """Make the Celery application of these settings.

    Messages are acknowledged late and one at a time, so that a job waits where a free worker can take it. A message
    that is not acknowledged comes back only after the longest lawful run, or a long job would be delivered twice.
    """
    visibility = visibility_timeout_s(settings)
    broker, tls = broker_address(settings.required_redis_url())
    untyped: Any = kombu
    app = Celery("cochlear", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_use_ssl=tls,
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            "socket_connect_timeout": 5,
            # A connection that died silently must not stop the event loop, and with it the signs of life, for ever.
            "socket_timeout": 10,
            "visibility_timeout": visibility,
        },
        result_backend=None,
        # Celery reads it in three places, and of all that share a server the shortest holds:
        # https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout
        result_backend_transport_options={"visibility_timeout": visibility},
        visibility_timeout=visibility,
        task_acks_late=True,
        task_default_queue=message_queue("cpu"),
        task_ignore_result=True,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2},
        task_reject_on_worker_lost=True,
        task_queues=[untyped.Queue(name, routing_key=name) for name in map(message_queue, settings.queues)],
        task_serializer="json",
        task_soft_time_limit=settings.time_limit_s,
        # The soft limit raises inside Python; the hard one kills a run that is stuck in native code.
        task_time_limit=settings.time_limit_s + settings.stop_grace_s,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
    )
    return app


class JobQueue:
    """The sending side of the queue.

    Args:
        settings: names the Redis server.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare the connection; it is made when first used."""
        self._app = create_celery(settings.model_copy(update={"queues": QUEUES}))

    def send(self, job_id: str, queue: QueueName) -> None:
        """Announce a job to the workers of its queue; announcing it twice does no harm.

        Raises:
            kombu.exceptions.OperationalError: when the server cannot be reached.
        """
        self._app.send_task(TASK, args=[job_id], queue=message_queue(queue))

    def is_empty(self, queues: Sequence[QueueName]) -> bool:
        """Tell whether no message waits to be taken from any of some queues.

        Raises:
            kombu.exceptions.OperationalError: when the server cannot be reached.
        """
        with self._app.connection_for_write() as connection, connection.default_channel as channel:
            return not any(channel.queue_declare(message_queue(name)).message_count for name in queues)

    def close(self) -> None:
        """Close the connections."""
        self._app.close()
