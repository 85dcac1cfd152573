"""Restoring a backup into an empty place: the files first, then the records that name them."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from model.errors import InputError
from worker import lifecycle
from worker.artifacts import ArtifactStore
from worker.backup.snapshot import Entry, NotEmptyError, must_be_empty, put_back
from worker.backup.write import API_KEYS, CONTENTS, FORMAT, KEYS, Backup
from worker.job_store import JobStore
from worker.settings import Settings

_CHUNK = 2**20


class BackupFileError(InputError):
    """The file is no usable backup."""

    code = "invalid-backup"
    title = "The backup cannot be used"


def restore_backup(
    settings: Settings, redis_url: str, source: Path, show: Callable[[str, float], None] = lambda *_: None
) -> Backup:
    """Restore a backup; jobs that ran when it was made wait again, without an attempt being counted.

    Args:
        settings: name the places of the files and of the API keys, which must be empty.
        redis_url: address of an empty server.
        source: the backup.
        show: called with what is done and the share of it.

    Returns:
        What the backup held.

    Raises:
        BackupFileError: it is cut short or damaged; records are stored only after all files were found sound.
        NotEmptyError: there is a service's data already.
        RunError: the Redis server is older than the backup's.
    """
    artifacts, store = ArtifactStore(settings.artifacts_url), JobStore(redis_url, settings.stale_after_s)
    must_be_empty(redis_url)
    if settings.key_file.exists():
        raise NotEmptyError("there are API keys already", expected="no file of keys", found="one")
    try:
        with tarfile.open(source, "r:") as tar:
            backup = _contents(tar)
            _restore_files(tar, backup, artifacts, settings, show)
            entries = [Entry.from_line(line) for line in _read(tar, backup, KEYS).splitlines()]
            put_back(redis_url, entries)
            if API_KEYS in backup.files:
                _write_private(settings.key_file, _read(tar, backup, API_KEYS))
        _settle(backup, store)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, tarfile.TarError) and error.errno is not None:
            raise
        raise BackupFileError("the file is no backup, or is damaged", found=type(error).__name__) from error
    finally:
        store.close()
    return backup


def _contents(tar: tarfile.TarFile) -> Backup:
    """Give what the backup says it holds."""
    try:
        document = json.loads(_stream(tar, CONTENTS).read())
    except KeyError:
        raise BackupFileError("the file is cut short", expected="a complete backup", found="no contents") from None
    if document.pop("format") != FORMAT:
        raise BackupFileError("the backup was made by another version", expected=f"format {FORMAT}", found="another")
    return Backup(**document)


def _restore_files(
    tar: tarfile.TarFile,
    backup: Backup,
    artifacts: ArtifactStore,
    settings: Settings,
    show: Callable[[str, float], None],
) -> None:
    """Put the files of all jobs into place."""
    jobs: dict[str, list[str]] = {}
    for name in backup.files:
        if name.startswith("jobs/"):
            jobs.setdefault(name.split("/")[1], []).append(name)
    settings.uploads_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place, (job_id, names) in enumerate(jobs.items()):
        show("files", place / len(jobs))
        with tempfile.TemporaryDirectory(dir=settings.uploads_dir) as temporary:
            folder = Path(temporary)
            for name in names:
                _extract(tar, backup, name, folder)
            root = folder / "jobs" / job_id
            for image in [path for path in root.iterdir() if path.is_file()]:
                artifacts.put_input(job_id, image.name, image)
            if (root / "results").is_dir():
                artifacts.publish(job_id, root / "results")


def _extract(tar: tarfile.TarFile, backup: Backup, name: str, folder: Path) -> None:
    """Write one file under its name in a folder, if it is what the backup says."""
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise BackupFileError("the backup names a file outside its folder")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    with target.open("wb") as file:
        stream = _stream(tar, name)
        while piece := stream.read(_CHUNK):
            digest.update(piece)
            file.write(piece)
    _must_equal(digest.hexdigest(), backup.files[name])


def _read(tar: tarfile.TarFile, backup: Backup, name: str) -> bytes:
    """Give the whole of a file, if it is what the backup says."""
    content = _stream(tar, name).read()
    _must_equal(hashlib.sha256(content).hexdigest(), backup.files[name])
    return content


def _stream(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a file of the backup; `KeyError` when there is none of that name."""
    return cast("IO[bytes]", tar.extractfile(tar.getmember(name)))


def _must_equal(found: str, expected: str) -> None:
    """Compare digests."""
    if found != expected:
        raise BackupFileError("a file of the backup is damaged", expected="its digest", found="another")


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _settle(backup: Backup, store: JobStore) -> None:
    """Make the records true of this place: nobody runs a job here, and some jobs have no files."""
    for job_id in store.running_ids():
        record = store.get(job_id)
        if record is not None:
            lifecycle.requeue(store, job_id, record.lease, count_attempt=False)
    for job_id in backup.damaged:
        lifecycle.expire(store, job_id)
    for job_id in backup.erased:
        lifecycle.request_cancel(store, job_id)
        store.remove(job_id)
