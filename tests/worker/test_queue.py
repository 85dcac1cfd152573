"""What is set on the Celery application itself, and the message queue on a real Redis server."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.embedded_redis import EmbeddedRedis
from worker.queue import JobQueue, create_celery, visibility_timeout_s
from worker.routes import QUEUES
from worker.settings import Settings


@pytest.mark.parametrize("time_limit_s", [2.0, 1800.0, 86400.0])
def test_no_message_comes_back_while_its_job_may_lawfully_run(time_limit_s: float) -> None:
    settings = Settings(redis_url="redis://localhost", time_limit_s=time_limit_s)
    conf = create_celery(settings).conf
    visibility = visibility_timeout_s(settings)
    assert conf.task_soft_time_limit == time_limit_s
    assert conf.task_time_limit == time_limit_s + settings.stop_grace_s
    assert conf.task_time_limit + 60 < visibility
    assert conf.broker_transport_options["visibility_timeout"] == visibility
    assert conf.result_backend_transport_options["visibility_timeout"] == visibility
    assert conf.visibility_timeout == visibility
    # What the transport makes of it in the end.
    connection = create_celery(settings).connection_for_read()
    assert connection.transport_options["visibility_timeout"] == visibility
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, True, 1)


def test_the_sending_side_knows_whether_messages_wait(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        queue = JobQueue(Settings(redis_url=redis.url))
        assert queue.is_empty(QUEUES)
        queue.send("job", "gpu")
        assert not queue.is_empty(QUEUES)
        assert queue.is_empty(["cpu"])
        queue.close()
