"""An S3 server in a process of its own: one that is named, or moto's."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

ENDPOINT = "COCHLEAR_TEST_S3_ENDPOINT"
"""Names a server to test against instead, whose credentials are those of the standard variables of AWS."""


@dataclass(frozen=True)
class S3Server:
    """A server that runs, and a bucket on it.

    Attributes:
        endpoint: its address.
        bucket: name of a bucket that was empty.
        environment: what a process needs to know to use it.
    """

    endpoint: str
    bucket: str
    environment: dict[str, str]


def why_not() -> str | None:
    """Give why no server can be had; None when one can."""
    missing = [name for name in ("s3fs", "boto3") if importlib.util.find_spec(name) is None]
    if not os.environ.get(ENDPOINT) and importlib.util.find_spec("moto") is None:
        missing.append("moto")
    return f"not installed: {', '.join(missing)}" if missing else None


@contextmanager
def s3_server(host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> Iterator[S3Server]:
    """Start a server and make a bucket.

    Args:
        host: address to listen on.
        prefix: words before the command, such as those that enter a network namespace.
    """
    endpoint = os.environ.get(ENDPOINT)
    bucket = f"cochlear-{secrets.token_hex(4)}"
    if endpoint:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
        environment = {name: os.environ[name] for name in names if name in os.environ}
        _make_bucket(endpoint, bucket, environment)
        yield S3Server(endpoint, bucket, {**environment, **_common(endpoint)})
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*prefix, sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://{host}:{port}"
    environment = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_REGION": "us-east-1"}
    try:
        if not prefix:
            _wait(endpoint, process)
            _make_bucket(endpoint, bucket, environment)
        yield S3Server(endpoint, bucket, {**environment, **_common(endpoint)})
    finally:
        process.kill()
        process.wait()


def _common(endpoint: str) -> dict[str, str]:
    """Give what is the same for all servers; older ones know no trailing checksums."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the S3 server ended"
        try:
            httpx.get(endpoint, timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the S3 server does not answer")


def _make_bucket(endpoint: str, bucket: str, environment: dict[str, str]) -> None:
    """Make a bucket."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment.get("AWS_REGION", "us-east-1"),
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )
    client.create_bucket(Bucket=bucket)
