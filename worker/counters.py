"""Counters and histograms in Redis, changed inside the transactions of the job records.

A metric is one line: `counter("cochlear_things", "Things done.", "kind")`. Because the figures live in Redis and change
in the same transaction as what they count, they are exact over restarts, several processes and double deliveries, and
every API process of a service shows the same ones. Each metric is one hash, `metric:<name>`, whose fields are the label
values as a JSON list; a histogram has further parts per field: its buckets, by number, and the sum.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.redis_connection import key

_SUM = "sum"


@dataclass(frozen=True)
class Counter:
    """A number per combination of labels that only grows.

    Attributes:
        name: name of the metric, without the `_total` that the exposition adds.
        help: what it counts.
        labels: names of its labels, whose values must come from small fixed sets.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def add(self, pipe: Any, *values: str, by: int = 1) -> None:  # noqa: ANN401
        """Queue an increase into a transaction.

        Args:
            pipe: the transaction.
            *values: the label values, in the order of `labels`.
            by: the increase.
        """
        pipe.hincrby(key("metric", self.name), _field(self.labels, values), by)


@dataclass(frozen=True)
class Histogram:
    """How often a value fell into which bucket, per combination of labels.

    Attributes:
        name: name of the metric, ending in its unit.
        help: what it measures.
        buckets: upper bounds, ascending; one without a bound is added.
        labels: names of its labels.
    """

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()

    def observe(self, pipe: Any, value: float, *values: str) -> None:  # noqa: ANN401
        """Queue an observation into a transaction.

        Args:
            pipe: the transaction.
            value: what was measured; a clock that stepped back gives 0.
            *values: the label values, in the order of `labels`.
        """
        name, field = key("metric", self.name), _field(self.labels, values)
        value = max(value, 0.0)
        pipe.hincrby(name, f"{field}|{bisect_left(self.buckets, value)}", 1)
        pipe.hincrbyfloat(name, f"{field}|{_SUM}", round(value, 6))


REGISTERED: dict[str, Counter | Histogram] = {}
"""All metrics kept in Redis, by name, in the order of registration."""


def counter(name: str, text: str, *labels: str) -> Counter:
    """Register a counter; see `Counter`."""
    made = Counter(name, text, labels)
    _register(made)
    return made


def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    """Register a histogram; see `Histogram`."""
    made = Histogram(name, text, buckets, labels)
    _register(made)
    return made


def counts_of(raw: Mapping[str, str]) -> dict[tuple[str, ...], float]:
    """Give the values of a counter by label values, from its hash."""
    return {tuple(json.loads(field)): float(value) for field, value in raw.items()}


def distributions_of(metric: Histogram, raw: Mapping[str, str]) -> dict[tuple[str, ...], tuple[list[float], float]]:
    """Give, by label values, the cumulative bucket counts (the last one is the total) and the sum of a histogram."""
    single: dict[tuple[str, ...], list[float]] = {}
    sums: dict[tuple[str, ...], float] = {}
    for name, value in raw.items():
        field, _, part = name.rpartition("|")
        labels = tuple(json.loads(field))
        counts = single.setdefault(labels, [0.0] * (len(metric.buckets) + 1))
        if part == _SUM:
            sums[labels] = float(value)
        else:
            # A bucket beyond the present bounds was counted by a version that had more of them.
            counts[min(int(part), len(metric.buckets))] += float(value)
    cumulative = {labels: [sum(counts[: i + 1]) for i in range(len(counts))] for labels, counts in single.items()}
    return {labels: (counts, sums.get(labels, 0.0)) for labels, counts in cumulative.items()}


def _register(metric: Counter | Histogram) -> None:
    """Note a metric under its name."""
    if metric.name in REGISTERED:
        raise ValueError(f"the metric {metric.name} is registered twice")
    REGISTERED[metric.name] = metric


def _field(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Give the field of a combination of label values."""
    if len(labels) != len(values):
        raise ValueError(f"the labels are {labels}, {len(values)} values came")
    return json.dumps(values)
