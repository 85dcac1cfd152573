"""The queues of jobs: one for workers with a GPU and one for those without.

A job belongs to one from the moment it is accepted, and a worker takes from those it was told. An operator who names no
bundle for the GPU has one queue in use, and nothing to set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

QueueName = Literal["cpu", "gpu"]

QUEUES: tuple[QueueName, ...] = ("cpu", "gpu")
"""All queues; a worker that is told nothing takes from each."""
ALL_BUNDLES = "*"


def message_queue(name: QueueName) -> str:
    """Give what a queue is called at the broker."""
    return "cochlear" if name == "cpu" else f"cochlear.{name}"


def queue_for(bundle: str, gpu_bundles: Sequence[str]) -> QueueName:
    """Give the queue of a job.

    Args:
        bundle: name of its bundle.
        gpu_bundles: names of the bundles whose jobs want a GPU; `*` stands for all.
    """
    return "gpu" if bundle in gpu_bundles or ALL_BUNDLES in gpu_bundles else "cpu"


def queues_in_use(gpu_bundles: Sequence[str]) -> tuple[QueueName, ...]:
    """Give the queues that jobs can come to."""
    if ALL_BUNDLES in gpu_bundles:
        return ("gpu",)
    return QUEUES if gpu_bundles else ("cpu",)
