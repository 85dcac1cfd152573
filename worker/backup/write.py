"""Writing a backup: the records first, then the files they name.

An image is stored before its record, and results before their record says that the job succeeded. So the files of a
snapshot of the records are there, and what comes later is not named by it. What is gone was erased meanwhile, which its
record of today tells; a backup then leaves that job out.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from worker.artifacts import ArtifactStore
from worker.backup.snapshot import take_snapshot
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState
from worker.settings import Settings
from worker.storage import flush_to_disk

FORMAT = 1
CONTENTS = "backup.json"
"""Written last: a file without it was cut short."""
KEYS = "redis.jsonl"
API_KEYS = "keys.json"

_WITHOUT_FILES = frozenset({JobState.CANCELED, JobState.EXPIRED})
_IN_MEMORY_BYTES = 16 * 2**20
_CHUNK = 2**20


@dataclass
class Backup:
    """What a backup holds.

    Attributes:
        jobs: how many jobs.
        files: SHA-256 of every file, by name.
        erased: jobs that were erased while it was written; they are not restored.
        damaged: jobs that should have files and have not, or others; they are restored as expired.
    """

    jobs: int = 0
    files: dict[str, str] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


class _DamagedError(Exception):
    """A stored file is not what the record says."""


def write_backup(
    settings: Settings, redis_url: str, target: Path, show: Callable[[str, float], None] = lambda *_: None
) -> Backup:
    """Write a backup of a service, which may run meanwhile.

    Args:
        settings: name the files and the API keys.
        redis_url: address of the records.
        target: tar file to write; readable by its owner only, and complete or not there.
        show: called with what is done and the share of it.

    Raises:
        OSError: when it cannot be written.
        RedisError: while the server is away.
    """
    store, artifacts = JobStore(redis_url, settings.stale_after_s), ArtifactStore(settings.artifacts_url)
    part = target.with_name(target.name + ".part")
    try:
        entries, records = take_snapshot(redis_url)
        backup = Backup(jobs=len(records))
        part.touch(mode=0o600)
        with tarfile.open(part, "w") as tar:
            for place, record in enumerate(records):
                show("files", place / len(records))
                _add_job(tar, backup, record, store, artifacts)
            if settings.key_file.is_file():
                _add(tar, backup, API_KEYS, [settings.key_file.read_bytes()])
            _add(tar, backup, KEYS, (entry.to_line().encode() + b"\n" for entry in entries))
            contents = {"format": FORMAT, **vars(backup)}
            _add(tar, Backup(), CONTENTS, [json.dumps(contents).encode()])
        flush_to_disk(part)
        part.replace(target)
        flush_to_disk(target.absolute().parent)
    finally:
        part.unlink(missing_ok=True)
        store.close()
    return backup


def _add_job(
    tar: tarfile.TarFile, backup: Backup, record: JobRecord, store: JobStore, artifacts: ArtifactStore
) -> None:
    """Add the files of one job, all of them or none."""
    if record.state in _WITHOUT_FILES:
        return
    try:
        with ExitStack() as stack:
            copies = {
                f"jobs/{record.id}/{name}": stack.enter_context(_copied(pieces, sha256))
                for name, pieces, sha256 in _files_of(record, artifacts)
            }
            for name, (copy, sha256) in copies.items():
                _add_file(tar, name, copy)
                backup.files[name] = sha256
    except (FileNotFoundError, _DamagedError):
        now = store.get(record.id)
        erased = now is None or now.state in _WITHOUT_FILES
        (backup.erased if erased else backup.damaged).append(record.id)


def _files_of(record: JobRecord, artifacts: ArtifactStore) -> Iterator[tuple[str, Iterable[bytes], str | None]]:
    """Give name, content and digest, where it is known, of the files of a job."""
    with artifacts.local_file(record.id, record.input_name) as image:
        yield record.input_name, _pieces(image), None
    for name, file in record.files.items():
        yield f"results/{name}", artifacts.open_result(record.id, name), file.sha256


def _pieces(path: Path) -> Iterator[bytes]:
    """Give the content of a file piece by piece."""
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            yield piece


@contextmanager
def _copied(pieces: Iterable[bytes], expected: str | None = None) -> Iterator[tuple[IO[bytes], str]]:
    """Give a copy of a file, at its beginning, with its digest.

    Raises:
        _DamagedError: when the digest is not the expected one.
    """
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:
        for piece in pieces:
            digest.update(piece)
            copy.write(piece)
        if expected is not None and digest.hexdigest() != expected:
            raise _DamagedError
        yield copy, digest.hexdigest()


def _add(tar: tarfile.TarFile, backup: Backup, name: str, pieces: Iterable[bytes]) -> None:
    """Add one file."""
    with _copied(pieces) as (copy, sha256):
        _add_file(tar, name, copy)
        backup.files[name] = sha256


def _add_file(tar: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    """Add the content of a file under a name."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = content.seek(0, io.SEEK_END), 0o600
    content.seek(0)
    tar.addfile(entry, content)
