"""Progress bars on standard error, and none when nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress_bar(start: str = "") -> Iterator[Callable[[str, float], None]]:
    """Show one bar while the block runs; gives the function to call with what is being done and the fraction done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(start, total=1.0)

        def show(text: str, fraction: float) -> None:
            progress.update(task, description=text, completed=fraction)

        yield show
