"""Image files as streams of decompressed bytes that never hand out more than was asked for."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from model.volumes.header import refusal, too_large
from model.volumes.volume import ImageLimits

CHUNK_BYTES = 4 * 2**20

_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def open_image(path: Path, limits: ImageLimits) -> Iterator[BinaryIO]:
    """Open an image file, decompressing when its first bytes (not its name) are those of gzip.

    Errors of the file system and of the compression, raised inside the `with` block too, become `ImageError`, without
    the path.

    Raises:
        ImageError: no such file, empty, or damaged compression.
        ImageTooLargeError: the file exceeds the limit.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise refusal("the image file is empty", "a NIfTI file (.nii or .nii.gz)", "0 bytes")
            if size > limits.max_file_bytes:
                raise too_large("the image file is too large", limits.max_file_bytes, size)
            magic = file.read(2)
            file.seek(0)
            if magic != _GZIP_MAGIC:
                yield file
                return
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield cast("BinaryIO", stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        expected, found = "a complete gzip file", "a truncated or corrupt one"
        raise refusal("the compressed image is damaged", expected, found, "send it again") from error
    except OSError as error:
        raise refusal("the image file cannot be read", "a readable file", _reason(error)) from error


def read_chunks(stream: BinaryIO, count: int) -> Iterator[bytes]:
    """Read exactly `count` bytes in chunks of `CHUNK_BYTES` (a multiple of every scalar size).

    Raises:
        ImageError: the stream ends before.
    """
    left = count
    while left > 0:
        wanted = min(left, CHUNK_BYTES)
        chunk = _read_full(stream, wanted)
        left -= len(chunk)
        if len(chunk) < wanted:
            expected, found = f"the {count} bytes that the header declares", f"{count - left} of them"
            raise refusal("the image is cut short", expected, found, "send it again")
        yield chunk


def finish(stream: BinaryIO) -> None:
    """Read what follows the voxels, which makes gzip verify its checksum, up to one chunk.

    Raises:
        ImageError: much more data than the header declares.
    """
    if len(_read_full(stream, CHUNK_BYTES)) == CHUNK_BYTES:
        raise refusal("the file goes on behind the image", "the voxels that the header declares", "much more data")


def _read_full(stream: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, fewer only at the end of the stream."""
    parts = []
    left = count
    while left > 0 and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _reason(error: OSError) -> str:
    """Name the kind of an OS error without the path it carries."""
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
