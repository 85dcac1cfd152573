"""Child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, death_signal: int = signal.SIGTERM) -> None:
    """Ask the kernel to signal this process when its parent ends, however it ends (Linux; elsewhere no effect).

    Args:
        parent: process id of the parent as it was before this process began; when it is gone already, exit.
        death_signal: what to send.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def worker_name(process_id: int) -> str:
    """Give the name under which a worker process of this machine beats."""
    return f"{socket.gethostname()}:{process_id}"


def limit_memory(max_bytes: int) -> None:
    """Let allocations of this process beyond a cap fail, so that it can say so instead of being killed.

    The limit is on private data (Linux counts heap and anonymous mappings, see `RLIMIT_DATA` in getrlimit(2)), not on
    address space, of which device drivers reserve more than they use.

    Args:
        max_bytes: the cap.
    """
    if sys.platform.startswith("linux"):
        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, resource.RLIM_INFINITY))


def start_child(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    death_signal: int = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (a Ctrl-C of the terminal reaches the parent only) that dies with us.

    Call it from the main thread: Linux counts the end of the starting thread as the end of the parent.

    Args:
        command: program and arguments; our own executables, never user input.
        environment: its environment, or None for ours.
        death_signal: what it gets when this process dies.
    """
    return subprocess.Popen(  # noqa: S603
        list(command),
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_bind_to(os.getpid(), death_signal),
    )


def stop_child(child: subprocess.Popen[bytes], grace_s: float, stop_signal: int = signal.SIGTERM) -> None:
    """Ask a child to stop, and kill its whole process group when it has not after a while."""
    if child.poll() is None:
        child.send_signal(stop_signal)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _bind_to(parent: int, death_signal: int) -> Callable[[], None]:
    """Give what a child of `parent` runs before it becomes the command."""

    def bind() -> None:
        die_with_parent(parent, death_signal)

    return bind
