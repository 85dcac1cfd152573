"""Multipart uploads, streamed: the image straight to disk, the small fields to memory, each with its cap.

The framework's own form parsing is not used: it spools without a bound before the first check.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.problems import ServiceError
from model.errors import InputError, OptionError

IMAGE = "image"
FIELDS = ("bundle", "side", "landmarks", "formats", "webhook", "webhook_events", "expires_in")
MAX_FIELD_BYTES = 64 * 1024
_OVERHEAD_BYTES = 1024 * 1024
"""What the multipart framing may add to files and fields."""
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class FormRules:
    """What a form may hold.

    Attributes:
        files: how many parts of each file name are taken.
        texts: cap in bytes on each other field, by name.
        max_file_bytes: cap on each file.
        max_total_bytes: cap on all files together.
    """

    files: Mapping[str, int]
    texts: Mapping[str, int]
    max_file_bytes: int
    max_total_bytes: int


def job_rules(max_image_bytes: int) -> FormRules:
    """Give what the form of one job may hold: an image of a size and the fields."""
    return FormRules({IMAGE: 1}, dict.fromkeys(FIELDS, MAX_FIELD_BYTES), max_image_bytes, max_image_bytes)


@dataclass(frozen=True)
class Form:
    """What came.

    Attributes:
        files: paths of the received files by the name of their parts, in the order of the form.
        fields: the other fields, by name.
    """

    files: Mapping[str, list[Path]]
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Upload:
    """What came.

    Attributes:
        image: path of the received file.
        fields: the other fields, by name.
    """

    image: Path
    fields: Mapping[str, str]


class MultipartSink:
    """Takes a multipart body piece by piece.

    Args:
        boundary: the boundary of the content type.
        open_file: gives where the next file part of a name goes; the sink closes it.
        rules: what the form may hold.
    """

    def __init__(self, boundary: bytes, open_file: Callable[[str], IO[bytes]], rules: FormRules) -> None:
        """Prepare the parser; nothing is read yet."""
        self._open_file = open_file
        self._rules = rules
        self._file: IO[bytes] | None = None
        self._file_bytes = self._total_bytes = 0
        self._counts = dict.fromkeys(rules.files, 0)
        self._texts: dict[str, bytearray] = {}
        self._name = ""
        self._headers = _PartHeaders()
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._open_part,
                "on_part_data": self._on_data,
                "on_part_end": self.close,
                "on_end": self._on_end,
            },
        )

    def write(self, piece: bytes) -> None:
        """Take a piece of the body.

        Raises:
            ServiceError: when the body is malformed or the image too large.
            OptionError: when a field is unknown, doubled or too long.
        """
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise _malformed("the multipart body cannot be parsed") from error

    def close(self) -> None:
        """Close the file that is being written, because its part ended or the body is given up."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> dict[str, str]:
        """Give the fields, after the last piece.

        Raises:
            ServiceError: when the body ends early.
            InputError: when there is no file, or a field is no UTF-8.
        """
        if not self._complete:
            raise _malformed("the multipart body ends before its closing boundary")
        if not any(self._counts.values()):
            raise InputError(
                "the image is missing", expected="a part named image with a NIfTI file", found="none", field=IMAGE
            )
        try:
            return {name: bytes(text).decode("utf-8") for name, text in self._texts.items()}
        except UnicodeDecodeError as error:
            raise InputError("a field is not text", expected="UTF-8", found="other bytes") from error

    def _begin(self) -> None:
        """Start a part."""
        self._name = ""
        self._headers = _PartHeaders()

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's name."""
        self._headers.name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's value."""
        self._headers.value += data[start:end]

    def _on_header_end(self) -> None:
        """End a header."""
        self._headers.close()

    def _open_part(self) -> None:
        """Decide what the part is from its headers."""
        _, options = parse_options_header(self._headers.disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self._rules.files and name not in self._rules.texts:
            raise OptionError(
                "there is a field of an unknown name",
                expected=", ".join((*self._rules.files, *self._rules.texts)),
                found=repr(name[:80]),
                hint="mind the spelling",
                field=name[:80] or None,
            )
        self._name = name
        if name in self._rules.files:
            self._begin_file(name)
        elif name in self._texts:
            raise _too_many(name, 1)
        else:
            self._texts[name] = bytearray()

    def _begin_file(self, name: str) -> None:
        """Open the file of a part."""
        self._counts[name] += 1
        if self._counts[name] > self._rules.files[name]:
            raise _too_many(name, self._rules.files[name])
        self._file_bytes = 0
        self._file = self._open_file(name)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        """Store a piece of a part, under its cap."""
        if self._file is not None:
            self._file_bytes += end - start
            self._total_bytes += end - start
            if self._file_bytes > self._rules.max_file_bytes:
                raise too_large(self._rules.max_file_bytes, self._name)
            if self._total_bytes > self._rules.max_total_bytes:
                raise too_large(self._rules.max_total_bytes, self._name, together=True)
            self._file.write(data[start:end])
            return
        text, cap = self._texts[self._name], self._rules.texts[self._name]
        if len(text) + end - start > cap:
            raise OptionError("a field is too long", expected=f"at most {cap} bytes", found="more", field=self._name)
        text += data[start:end]

    def _on_end(self) -> None:
        """Note the closing boundary."""
        self._complete = True


@dataclass
class _PartHeaders:
    """The header being read and the one header that matters."""

    name: bytes = b""
    value: bytes = b""
    disposition: bytes = b""

    def close(self) -> None:
        """End the header being read."""
        if self.name.strip().lower() == b"content-disposition":
            self.disposition = self.value
        self.name = self.value = b""


async def receive_upload(request: Request, target: Path, max_image_bytes: int) -> Upload:
    """Receive a multipart request with one image into a file.

    Args:
        request: the request, its body unread.
        target: the file to write; its folder exists. It is left there on errors, too.
        max_image_bytes: cap on the image.

    Raises:
        ServiceError: wrong content type, malformed or too large body.
        InputError: missing image, unknown or doubled field.
        OSError: when it cannot be stored.
    """
    return Upload(target, await _receive(request, lambda _: target.open("wb"), job_rules(max_image_bytes)))


async def receive_form(request: Request, folder: Path, rules: FormRules) -> Form:
    """Receive a multipart request with any number of files into a folder.

    Args:
        request: the request, its body unread.
        folder: where the files go, under names of their own; it exists, and keeps what came on errors, too.
        rules: what the form may hold.

    Raises:
        ServiceError: wrong content type, malformed or too large body.
        InputError: no file, unknown field, or too many of one name.
    """
    files: dict[str, list[Path]] = {name: [] for name in rules.files}

    def open_file(name: str) -> IO[bytes]:
        files[name].append(folder / f"{name}-{len(files[name])}")
        return files[name][-1].open("wb")

    fields = await _receive(request, open_file, rules)
    return Form(files, fields)


async def _receive(request: Request, open_file: Callable[[str], IO[bytes]], rules: FormRules) -> dict[str, str]:
    """Receive a multipart request and give its fields."""
    boundary = _boundary(request)
    declared = request.headers.get("content-length", "")
    body = _Body(request)
    sink = MultipartSink(boundary, open_file, rules)
    try:
        if declared.isdigit() and int(declared) > rules.max_total_bytes + _OVERHEAD_BYTES + sum(rules.texts.values()):
            raise too_large(rules.max_total_bytes, together=rules.max_file_bytes < rules.max_total_bytes)
        async for piece in body.pieces():
            # The disk is written to in a thread, not in the event loop.
            await anyio.to_thread.run_sync(sink.write, piece)
        return sink.finish()
    except (ServiceError, InputError, OSError):
        await body.drain()
        raise
    finally:
        sink.close()


def too_large(cap: int, field: str = IMAGE, *, together: bool = False) -> ServiceError:
    """Give the error for a file, or all files together, over the cap."""
    which = "the files together are larger" if together else "the image file is larger"
    return ServiceError(
        "upload-too-large",
        "The upload is too large",
        f"{which} than this service takes",
        expected=f"at most {cap} bytes",
        found="more",
        hint="crop the image around the ear, or compress it as .nii.gz",
        field=field,
    )


def _too_many(name: str, cap: int) -> OptionError:
    """Give the error for a field that comes too often."""
    if cap == 1:
        return OptionError("a field is given twice", expected=f"one {name}", found="several", field=name)
    return OptionError("a field is given too often", expected=f"at most {cap} of {name}", found="more", field=name)


class _Body:
    """The body of a request, which knows whether more is to come."""

    def __init__(self, request: Request) -> None:
        """Prepare the parser; nothing is read yet."""
        self._receive = request.receive
        self._more = True

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece."""
        while self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                self._more = False
                raise _malformed("the connection ended before the whole body had come")
            self._more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def drain(self) -> None:
        """Read on for a while without storing, as many clients read the answer only after sending all."""
        drained = 0
        with anyio.move_on_after(_DRAIN_SECONDS):
            while self._more and drained < _DRAIN_BYTES:
                message = await self._receive()
                drained += len(message.get("body", b""))
                self._more = message.get("more_body", False)


def _boundary(request: Request) -> bytes:
    """Give the boundary of the content type."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:
        raise ServiceError(
            "unsupported-media-type",
            "The content type is not taken",
            "a job is submitted as a form",
            expected="multipart/form-data with a boundary",
            found=kind.decode("latin-1")[:80] or "none",
        )
    return boundary


def _malformed(detail: str) -> ServiceError:
    """Give the error for a body that is no multipart form."""
    return ServiceError("malformed-upload", "The upload is malformed", detail, expected="a multipart/form-data body")
