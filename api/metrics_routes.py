"""The route of the metrics, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from api.access.caller import Reader
from api.access_log import HttpMetrics
from api.context import Context, ContextOf
from api.schemas import problem_responses
from model.bundle import default_checkpoints, list_bundles
from worker.counters import REGISTERED, Counter, counts_of, distributions_of
from worker.disk import disk_space
from worker.presence import Presence, WorkerState
from worker.redis_connection import connect, key
from worker.routes import QUEUES

router = APIRouter(tags=["service"])


class ServiceCollector(Collector):
    """Reads what Redis holds about jobs and workers; every process of a service gives the same figures.

    Args:
        context: the parts of the service.
    """

    def __init__(self, context: Context) -> None:
        """Prepare a connection."""
        self._settings = context.settings
        self._store = context.store
        self._redis = connect(context.settings.required_redis_url())
        self._presence = Presence(self._redis, context.settings.stale_after_s, context.settings.deaf_after_s)

    def collect(self) -> Iterator[Metric]:
        """Give all metrics.

        Raises:
            RedisError: while Redis is away, as a part of the figures would mislead.
        """
        yield from self._kept()
        yield from self._jobs()
        yield from self._workers(self._presence.workers())
        yield from self._machine()

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _kept(self) -> Iterator[Metric]:
        """Give the counters and histograms that Redis keeps."""
        with self._redis.pipeline(transaction=True) as pipe:
            for name in REGISTERED:
                pipe.hgetall(key("metric", name))
            hashes: list[dict[str, str]] = pipe.execute()
        for metric, raw in zip(REGISTERED.values(), hashes, strict=True):
            if isinstance(metric, Counter):
                family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
                counts = counts_of(raw) or ({} if metric.labels else {(): 0.0})
                for labels, value in sorted(counts.items()):
                    family.add_metric(labels, value)
                yield family
                continue
            spread = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            bounds = [*map(str, metric.buckets), "+Inf"]
            for labels, (buckets, total) in sorted(distributions_of(metric, raw).items()):
                spread.add_metric(labels, list(zip(bounds, buckets, strict=True)), total)
            yield spread

    def _jobs(self) -> Iterator[Metric]:
        """Give the state of the queue."""
        now = self._store.now()
        waiting = GaugeMetricFamily("cochlear_queue_waiting", "Jobs that wait, by queue.", labels=("queue",))
        oldest = GaugeMetricFamily(
            "cochlear_queue_oldest_waiting_seconds", "How long the next job of a queue has waited.", labels=("queue",)
        )
        running = GaugeMetricFamily("cochlear_queue_running", "Jobs that run, by queue.", labels=("queue",))
        runs = [self._store.get(job_id) for job_id in self._store.running_ids()]
        ages = [0.0]
        for queue in QUEUES:
            heads = self._store.first_queued(1, queue)
            ages += [(now - (head.queued_at or head.created_at)).total_seconds() for head in heads]
            waiting.add_metric((queue,), self._store.queue_length(queue))
            oldest.add_metric((queue,), ages[-1] if heads else 0.0)
            running.add_metric((queue,), sum(run is not None and run.queue == queue for run in runs))
        age = max(ages)
        yield from (waiting, oldest, running)
        yield GaugeMetricFamily("cochlear_queue_depth", "Jobs that wait.", self._store.queue_length())
        yield GaugeMetricFamily("cochlear_jobs_running", "Jobs that run.", len(runs))
        yield GaugeMetricFamily("cochlear_oldest_waiting_seconds", "How long a job has waited at most.", age)

    def _workers(self, workers: list[WorkerState]) -> Iterator[Metric]:
        """Give what the workers say about themselves."""
        hearing = sum(worker.consuming for worker in workers)
        yield GaugeMetricFamily("cochlear_workers_live", "Workers that beat lately.", len(workers))
        yield GaugeMetricFamily("cochlear_workers_consuming", "Live workers that consumed lately, or work.", hearing)
        serving = GaugeMetricFamily("cochlear_queue_workers", "Workers that hear, by queue.", labels=("queue",))
        for queue in QUEUES:
            serving.add_metric((queue,), sum(worker.consuming and worker.serves(queue) for worker in workers))
        yield serving
        for fact, name, text in _MEMORY:
            family = GaugeMetricFamily(name, text, labels=("worker", "device"))
            for worker in workers:
                if fact in worker.facts:
                    family.add_metric((worker.name, worker.facts.get("device", "")), float(worker.facts[fact]))
            yield family
        resident = GaugeMetricFamily(
            "cochlear_pool_child_resident_bytes", "Resident memory of the process that computes.", labels=("worker",)
        )
        for worker in workers:
            if "child_resident_bytes" in worker.facts:
                resident.add_metric((worker.name,), float(worker.facts["child_resident_bytes"]))
        yield resident

    def _machine(self) -> Iterator[Metric]:
        """Give what is seen from this process: disk and bundles."""
        space = disk_space(self._settings.data_dir, self._settings.min_free_bytes)
        yield GaugeMetricFamily("cochlear_data_free_bytes", "Free space of the data folder's disk.", space.free)
        yield GaugeMetricFamily("cochlear_data_floor_bytes", "Free space under which uploads are refused.", space.floor)
        folder = self._settings.checkpoints or default_checkpoints()
        yield GaugeMetricFamily("cochlear_bundles", "Model bundles on offer.", len(list_bundles(folder)))


_MEMORY = (
    ("memory_used_bytes", "cochlear_device_memory_used_bytes", "Memory in use; on a CPU, that of the pool child."),
    ("memory_total_bytes", "cochlear_device_memory_total_bytes", "Memory there is."),
    ("memory_reserved_bytes", "cochlear_device_memory_reserved_bytes", "GPU memory that the pool child keeps."),
)


class PlainText(Response):
    """A response in the text format of Prometheus."""

    media_type = CONTENT_TYPE_PLAIN_0_0_4


@router.get(
    "/metrics",
    response_class=PlainText,
    responses=problem_responses(503),
    summary="Metrics for Prometheus",
)
def metrics(request: Request, _: Reader, __: ContextOf) -> Response:
    """Give the metrics: those of jobs and workers for the whole service, those of requests for this process."""
    state: Any = request.app.state
    registry = CollectorRegistry()
    registry.register(cast("ServiceCollector", state.collector))
    body = generate_latest(registry) + generate_latest(cast("HttpMetrics", state.http_metrics).registry)
    return PlainText(body)
