"""The private Redis server: private, durable, and never left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from model.errors import RunError
from worker.embedded_redis import EmbeddedRedis

LONG_NAME = "a-long-name-for-a-folder-" * 6


def socket_of(redis: EmbeddedRedis) -> Path:
    return Path(redis.url.removeprefix("unix://"))


def test_only_the_owner_can_reach_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        path = socket_of(redis)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with Redis.from_url(redis.url, decode_responses=True) as client:
            assert client.config_get("port") == {"port": "0"}


def test_what_is_written_outlives_a_restart_and_a_kill(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis, Redis.from_url(redis.url) as client:
        client.set("first", "1")
    with EmbeddedRedis(tmp_path) as redis, Redis.from_url(redis.url) as client:
        client.set("second", "2")
        assert redis._process is not None
        redis._process.kill()
        redis._process.wait()
        assert not redis.running
    with EmbeddedRedis(tmp_path) as redis, Redis.from_url(redis.url) as client:
        assert client.mget("first", "second") == [b"1", b"2"]


def test_a_data_folder_with_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / LONG_NAME) as redis:
        folder = socket_of(redis).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not folder.is_relative_to(tmp_path)
        with Redis.from_url(redis.url) as client:
            assert client.ping()
    assert not folder.exists()


def test_a_server_that_cannot_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_text("this is no append-only file\n")
    (tmp_path / "redis" / "appendonlydir").write_text("nor is this a folder\n")
    with pytest.raises(RunError, match="did not start"), EmbeddedRedis(tmp_path):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of this system sends no death signal")
def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from worker.embedded_redis import EmbeddedRedis\n"
        f"with EmbeddedRedis(Path({str(tmp_path)!r})) as redis:\n"
        "    print(redis._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _lives(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    lives = _lives(server)
    if lives:
        os.kill(server, signal.SIGKILL)
    assert not lives


def _lives(process_id: int) -> bool:
    """Whether a process runs; a zombie that nobody has collected yet does not."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_what_was_erased_leaves_the_append_only_file(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis, Redis.from_url(redis.url) as client:
        client.set("kept", "here")
        client.set("erased", "patient")
        client.delete("erased")

        def written() -> bytes:
            return b"".join(path.read_bytes() for path in (tmp_path / "redis").rglob("*.aof*"))

        assert b"patient" in written()
        redis.forget_erased()
        deadline = time.monotonic() + 20
        while b"patient" in written() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert b"patient" not in written()
        assert client.get("kept") == b"here"
