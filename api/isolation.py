"""Work on strangers' files in a process of its own: it ends in time and within a cap of memory, whatever they hold."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from api.problems import ServiceError
from model.errors import CochlearError
from worker.jobs import JobFailure
from worker.processes import limit_memory

T = TypeVar("T")

# A server that is started by exec and forked from: no thread of this process is in the middle of anything there, and
# what the work imports is imported once.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["api.submission"])

_GRACE_S = 5


@dataclass(frozen=True)
class Bounds:
    """What a piece of work may take.

    Attributes:
        memory_bytes: private memory of its process.
        seconds: time until it must have ended.
    """

    memory_bytes: int
    seconds: int


def prepare() -> None:
    """Start what processes are forked from, so that the first piece of work need not wait for it."""
    forkserver.ensure_running()


def run_isolated(bounds: Bounds, work: Callable[..., T], *arguments: object) -> T:
    """Run a function in a process of its own and give its result; blocks the calling thread meanwhile.

    Args:
        bounds: what it may take.
        work: a function of a module, whose result can be pickled.
        *arguments: its arguments, which can be pickled.

    Raises:
        ServiceError: the work raised a `CochlearError`, in the same terms; or it took too much (`image-too-large`,
            `check-took-too-long`) or crashed (`check-crashed`).
    """
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_work, args=(sender, bounds, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        # A process that ends without an answer closes the pipe, which ends the waiting, too.
        answer: Any = receiver.recv() if receiver.poll(bounds.seconds + _GRACE_S) else None
    except EOFError:
        answer = None
    finally:
        receiver.close()
        process.join(_GRACE_S)
        process.kill()
        process.join()
    if answer is None:
        raise _no_answer(process.exitcode)
    failure, result = answer
    if isinstance(failure, JobFailure):
        terms = {name: getattr(failure, name) for name in ("expected", "found", "hint", "field")}
        raise ServiceError(failure.code, failure.title, failure.detail, **terms)
    return result  # type: ignore[no-any-return]  # it was pickled and is what `work` gave


def _work(sender: Connection, bounds: Bounds, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Run within the bounds and send what came of it (in the new process)."""
    limit_memory(bounds.memory_bytes)
    # Crashes of strangers' files leave no memory images of patients on disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The default action of the alarm ends the process wherever it is, also inside native code, and when its parent
    # has gone away.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(bounds.seconds)
    try:
        answer: tuple[JobFailure | None, object] = (None, work(*arguments))
    except CochlearError as error:
        answer = (JobFailure.from_error(error), None)
    except MemoryError:
        answer = (_too_much_memory(bounds), None)
    sender.send(answer)
    sender.close()


def _too_much_memory(bounds: Bounds) -> JobFailure:
    """Give the failure of work that ran out of its memory."""
    return JobFailure(
        code="image-too-large",
        title="The image is too large",
        detail="checking the image takes more memory than this service gives to an upload",
        expected=f"an image that can be checked within {bounds.memory_bytes // 2**20} MiB",
        found="a larger one",
        hint="crop the image around the ear",
        field="image",
    )


def _no_answer(status: int | None) -> ServiceError:
    """Give the error of work that sent no answer, by the exit status of its process."""
    if status in (-signal.SIGALRM, -signal.SIGKILL):
        return ServiceError(
            "check-took-too-long",
            "The check took too long",
            "the image could not be checked in time",
            hint="crop the image around the ear, or try again when the service has less to do",
            field="image",
        )
    return ServiceError(
        "check-crashed",
        "The image cannot be checked",
        "reading the image made the reading process crash",
        expected="a sound NIfTI file",
        found="one that its reader does not survive",
        field="image",
    )
