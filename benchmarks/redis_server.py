"""A Redis server that listens on TCP, with a password and, on request, TLS by a throwaway authority."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from worker.embedded_redis import redis_executable

PASSWORD = "p@ss:word/with?signs"  # noqa: S105
"""What needs quoting in an address."""
QUOTED = "p%40ss%3Aword%2Fwith%3Fsigns"


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and a server certificate of it for `localhost`."""

    ca: Path
    certificate: Path
    private_key: Path


def make_authority(folder: Path, host: str = "localhost") -> Authority:
    """Make an authority and a certificate for a host name, with openssl."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key, certificate, private_key = (folder / name for name in ("ca.crt", "ca.key", "redis.crt", "redis.key"))
    elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    root = ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=throwaway authority"]
    _openssl("req", "-x509", *elliptic, *root, "-keyout", ca_key, "-out", ca)
    leaf = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=CA:FALSE"]
    signed: list[str | Path] = ["-CA", ca, "-CAkey", ca_key, "-keyout", private_key, "-out", certificate]
    _openssl("req", "-x509", *elliptic, *leaf, *signed)
    return Authority(ca, certificate, private_key)


def why_no_tls() -> str | None:
    """Give why no server with TLS can be had; None when one can."""
    if shutil.which("openssl") is None:
        return "not installed: openssl"
    if not _starts_with_tls():
        return "this redis-server was built without TLS; Debian's package redis-server has it"
    return None


def _starts_with_tls() -> bool:
    """Tell whether the server knows the options of TLS: one without refuses its configuration and ends at once."""
    command = [redis_executable(), "--port", "0", "--tls-port", "1", "--tls-cert-file", "/nonexistent"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return "Failed to configure TLS" in found.stdout + found.stderr


class RedisServer:
    """A Redis server in a process of its own, running while used as a context manager.

    Args:
        folder: for its file.
        port: to listen on.
        authority: whose certificate it shows; None for no TLS.
        host: address to listen on.
        prefix: words before the command, such as those that enter a network namespace.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        authority: Authority | None = None,
        host: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
    ) -> None:
        """Settle the command; the server starts on entering."""
        folder.mkdir(parents=True, exist_ok=True)
        self._prefix = prefix
        listens = ["--port", str(port)]
        self.url = f"redis://:{QUOTED}@{host}:{port}/0"
        if authority is not None:
            listens = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            listens += ["--tls-cert-file", str(authority.certificate), "--tls-key-file", str(authority.private_key)]
            self.url = f"rediss://:{QUOTED}@localhost:{port}/0?ssl_ca_certs={authority.ca}"
        rest = ["--bind", host, "--requirepass", PASSWORD, "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        self._command = [*prefix, redis_executable(), *listens, *rest, "--logfile", str(folder / "redis.log")]

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._command)
        deadline = time.monotonic() + 30
        while not self._prefix and time.monotonic() < deadline:
            assert self._process.poll() is None, "redis-server ended"
            try:
                with Redis.from_url(self.url, socket_timeout=5) as client:
                    client.ping()
                return self
            except RedisError:
                time.sleep(0.05)
        assert self._prefix, "redis-server does not answer"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(20)


def _openssl(*words: str | Path) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
