"""Files of jobs behind fsspec: the stored image and the published results.

Layout under the root: `<id>/input.nii.gz` (or `input.nii`) and `<id>/results/...`. Results appear all at once and once:
on a local folder by one rename of a finished folder. Elsewhere every attempt uploads to a folder of its own,
`<id>/results-<token>/...`, and the file `<id>/published`, written last and once, names the one that counts.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from worker.file_system import check_creates_once, find_file_system
from worker.jobs import ResultFile
from worker.storage import flush_to_disk, flush_tree

_CHUNK = 2**20
_MARKER = "published"
_UPLOAD = "results-"
_ATTEMPT = ".attempt-"


class ArtifactStore:
    """The files of all jobs.

    Args:
        url: root of the store, a local path or any fsspec address (`s3://bucket/prefix`).
    """

    def __init__(self, url: str) -> None:
        """Find the file system of the address.

        Raises:
            StoreError: when there is none.
        """
        self._url = url
        self._fs_process = os.getpid()
        self._found, self._root = find_file_system(url)
        self._local = isinstance(self._found, LocalFileSystem)

    def check(self) -> None:
        """Make sure that the store can be written and lets results be published once.

        Raises:
            StoreError: when two attempts could both publish.
            OSError: when it cannot be written.
        """
        if not self._local:
            check_creates_once(self._fs, self._root)

    @property
    def _fs(self) -> Any:  # noqa: ANN401  (fsspec ships without types)
        """The file system, one for each process: connections and their event loop do not survive a fork."""
        if self._fs_process != os.getpid():
            self._found, _ = find_file_system(self._url)
            self._fs_process = os.getpid()
        return self._found

    def put_input(self, job_id: str, name: str, image: Path) -> None:
        """Take over the checked image of a job; the given file is gone afterwards."""
        target = self._path(job_id, name)
        if self._local:
            Path(target).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.move(image, target)
            for path in (Path(target), Path(target).parent, Path(target).parent.parent):
                flush_to_disk(path)
        else:
            self._fs.put_file(str(image), target)
            image.unlink()

    @contextmanager
    def local_file(self, job_id: str, name: str) -> Iterator[Path]:
        """Give a stored file (`results/...` for a published one) as a local path for the time of the block.

        Raises:
            FileNotFoundError: when it is not there.
        """
        if self._local:
            yield Path(self._path(job_id, name))
            return
        source = self._path(job_id, name)
        if name.startswith("results/"):
            source = f"{self._results(job_id)}/{name.removeprefix('results/')}"
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / Path(name).name
            self._fs.get_file(source, str(target))
            yield target

    @contextmanager
    def staging(self, job_id: str) -> Iterator[Path]:
        """Give a local path, yet to be made, to write results to; what is left of it is erased after the block.

        On a local store it lies beside the results, so that publishing is a rename within one file system.
        """
        parent = Path(self._path(job_id)) if self._local else None
        folder = Path(tempfile.mkdtemp(prefix=_ATTEMPT, dir=parent))
        try:
            yield folder / "results"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, job_id: str) -> None:
        """Erase what attempts that were killed or came second left beside the results."""
        if self._local:
            for folder in Path(self._path(job_id)).glob(f"{_ATTEMPT}*"):
                shutil.rmtree(folder, ignore_errors=True)
            return
        published = self._results(job_id)
        for path in self._fs.glob(self._path(job_id, f"{_UPLOAD}*")) if published else ():
            if path.rstrip("/") != published:
                self._fs.rm(path, recursive=True)

    def left_attempts(self, older_than_s: float) -> list[str]:
        """Give the ids of jobs beside whose results an attempt that has not written for a while left something."""
        if not self._local:
            return []
        limit = time.time() - older_than_s
        folders = Path(self._root).glob(f"*/{_ATTEMPT}*")
        return sorted({folder.parent.name for folder in folders if folder.stat().st_mtime < limit})

    def publish(self, job_id: str, folder: Path) -> bool:
        """Make a finished folder the job's results; tell whether it did, False when there are results already."""
        if self.is_published(job_id):
            return False
        if not self._local:
            return self._upload(job_id, folder)
        flush_tree(folder)
        target = Path(self._path(job_id, "results"))
        try:
            # rename() onto a folder that is not empty fails, so of two publishers one wins.
            os.rename(folder, target)
        except OSError:
            if self.is_published(job_id):
                return False
            raise
        flush_to_disk(target.parent)
        return True

    def is_published(self, job_id: str) -> bool:
        """Tell whether a job has results."""
        return bool(self._fs.exists(self._path(job_id, "results" if self._local else _MARKER)))

    def describe_results(self, job_id: str) -> dict[str, ResultFile]:
        """Give digest and size of every published file, by name relative to the results."""
        root = self._results(job_id)
        if root is None:
            return {}
        names = sorted(path[len(root) + 1 :] for path in self._fs.find(root))
        return {name: self._describe(f"{root}/{name}") for name in names}

    def read_result(self, job_id: str, name: str) -> bytes:
        """Give the whole of a small published file.

        Raises:
            FileNotFoundError: when it is not there.
        """
        return b"".join(self.open_result(job_id, name))

    def open_result(self, job_id: str, name: str, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Open a published file now and give it piece by piece; on a local store, erasing it then does no harm.

        Args:
            job_id: the job.
            name: the file, relative to the results.
            begin: first byte.
            end: the byte after the last; None for the end of the file.

        Raises:
            FileNotFoundError: when it is not there.
        """
        root = self._results(job_id)
        if root is None:
            raise FileNotFoundError(name)
        stream = self._fs.open(f"{root}/{name}", "rb")
        stream.seek(begin)

        def pieces() -> Iterator[bytes]:
            with stream:
                while piece := stream.read(_CHUNK if end is None else min(_CHUNK, end - stream.tell())):
                    yield piece

        return pieces()

    def erase(self, job_id: str) -> None:
        """Erase all files of a job; nothing happens when there are none."""
        path = self._path(job_id)
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def orphans(self, older_than_s: float, is_wanted: Callable[[str], bool]) -> list[str]:
        """Give the ids of stored jobs whose files nobody wants and which have not changed for a while.

        Args:
            older_than_s: seconds without a change, by the clocks of this machine and of the store.
            is_wanted: tells whether a job still has a use for its files; asked as seldom as may be.
        """
        limit = time.time() - older_than_s
        if not self._local:
            names = (path.rstrip("/").rpartition("/")[2] for path in self._folders())
            return [name for name in names if not is_wanted(name) and self._changed_at(name) < limit]
        if not Path(self._root).is_dir():
            return []
        old = [entry.name for entry in os.scandir(self._root) if entry.is_dir() and entry.stat().st_mtime < limit]
        return [name for name in old if not is_wanted(name)]

    def _folders(self) -> list[str]:
        """Give the addresses of the folders of all jobs on a store that is not local."""
        try:
            entries = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        return [str(entry["name"]) for entry in entries if entry["type"] == "directory"]

    def _changed_at(self, job_id: str) -> float:
        """Give when the files of a job on a store that is not local were last written, seconds since 1970."""
        files = self._fs.find(self._path(job_id), detail=True).values()
        # S3 calls it LastModified and gives a date; others give seconds as `created`.
        times = [file.get("LastModified") or file.get("created") or 0.0 for file in files]
        return max((when if isinstance(when, float) else when.timestamp() for when in times), default=0.0)

    def _upload(self, job_id: str, folder: Path) -> bool:
        """Publish to a store without renames: a folder of this attempt alone, then the file that names it."""
        name = _UPLOAD + secrets.token_hex(8)
        target = self._path(job_id, name)
        self._fs.put(f"{folder}/", f"{target}/", recursive=True)
        try:
            # Refused by the store when it is there already (by S3 with If-None-Match).
            self._fs.pipe_file(self._path(job_id, _MARKER), name.encode(), mode="create")
        except OSError:
            # Stores word the refusal differently, and a request that was repeated because its answer was lost is
            # refused although the first one counts. Only the file itself tells; without one, the error stands, and
            # what was uploaded stays, as the file may appear yet.
            published = self._results(job_id)
            if published is None:
                raise
            if published != target:
                self._fs.rm(target, recursive=True)
            return published == target
        return True

    def _results(self, job_id: str) -> str | None:
        """Give the address of the published folder, or None when there is none."""
        if self._local:
            return self._path(job_id, "results")
        try:
            return self._path(job_id, bytes(self._fs.cat_file(self._path(job_id, _MARKER))).decode())
        except FileNotFoundError:
            return None

    def _describe(self, path: str) -> ResultFile:
        """Digest one stored file."""
        digest, size = hashlib.sha256(), 0
        with self._fs.open(path, "rb") as stream:
            while piece := stream.read(_CHUNK):
                digest.update(piece)
                size += len(piece)
        return ResultFile(sha256=digest.hexdigest(), size=size)

    def _path(self, job_id: str, name: str | None = None) -> str:
        """Give the address of a job's folder or of a file in it."""
        folder = f"{self._root.rstrip('/')}/{job_id}"
        return folder if name is None else f"{folder}/{name}"
