"""The stages of a run: who is told about them, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the fraction of it that is done."""


class Stages:
    """Times the stages of one run and reports their beginning and end.

    Attributes:
        timings_s: seconds of every stage that has ended, by name.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        """Report to `progress`, or to nobody."""
        self._progress = progress
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time one stage."""
        self._tell(stage, 0.0)
        start = time.perf_counter()
        yield
        self.timings_s[stage] = round(time.perf_counter() - start, 3)
        self._tell(stage, 1.0)

    def _tell(self, stage: str, fraction: float) -> None:
        """Report how far a stage is."""
        if self._progress is not None:
            self._progress(stage, fraction)
