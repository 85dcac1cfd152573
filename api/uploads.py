"""Multipart uploads, streamed: the image straight to disk, the small fields to memory, each with its cap.

The framework's own form parsing is not used: it spools without a bound before the first check.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
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
FIELDS = ("bundle", "side", "landmarks", "formats")
_MAX_FIELD_BYTES = 64 * 1024
_OVERHEAD_BYTES = 1024 * 1024
"""What the small fields and the multipart framing may add to the image."""
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Upload:
    """What came.

    Attributes:
        image: path of the received file.
        fields: the other fields, by name.
        image_sha256: SHA-256 of the file, in hexadecimal digits.
    """

    image: Path
    fields: Mapping[str, str]
    image_sha256: str


class MultipartSink:
    """Takes a multipart body piece by piece.

    Args:
        boundary: the boundary of the content type.
        target: where the image goes.
        max_image_bytes: cap on the image.
    """

    def __init__(self, boundary: bytes, target: IO[bytes], max_image_bytes: int) -> None:
        """Prepare the parser; nothing is read yet."""
        self._target = target
        self._cap = max_image_bytes
        self._image_bytes = -1
        self._digest = hashlib.sha256()
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

    def finish(self) -> dict[str, str]:
        """Give the fields, after the last piece.

        Raises:
            ServiceError: when the body ends early.
            InputError: when there is no image, or a field is no UTF-8.
        """
        if not self._complete:
            raise _malformed("the multipart body ends before its closing boundary")
        if self._image_bytes < 0:
            raise InputError(
                "the image is missing", expected="a part named image with a NIfTI file", found="none", field=IMAGE
            )
        try:
            return {name: bytes(text).decode("utf-8") for name, text in self._texts.items()}
        except UnicodeDecodeError as error:
            raise InputError("a field is not text", expected="UTF-8", found="other bytes") from error

    @property
    def image_sha256(self) -> str:
        """SHA-256 of the image as far as it has come."""
        return self._digest.hexdigest()

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
        known = name == IMAGE or name in FIELDS
        if not known:
            raise OptionError(
                "there is a field of an unknown name",
                expected=", ".join((IMAGE, *FIELDS)),
                found=repr(name[:80]),
                hint="mind the spelling",
                field=name[:80] or None,
            )
        if name in self._texts or (name == IMAGE and self._image_bytes >= 0):
            raise OptionError("a field is given twice", expected=f"one {name}", found="several", field=name)
        self._name = name
        if name == IMAGE:
            self._image_bytes = 0
        else:
            self._texts[name] = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        """Store a piece of a part, under its cap."""
        if self._name == IMAGE:
            self._image_bytes += end - start
            if self._image_bytes > self._cap:
                raise too_large(self._cap)
            self._digest.update(data[start:end])
            self._target.write(data[start:end])
            return
        text = self._texts[self._name]
        if len(text) + end - start > _MAX_FIELD_BYTES:
            raise OptionError(
                "a field is too long", expected=f"at most {_MAX_FIELD_BYTES} bytes", found="more", field=self._name
            )
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
    """Receive a multipart request into a file.

    Args:
        request: the request, its body unread.
        target: the file to write; its folder exists. It is left there on errors, too.
        max_image_bytes: cap on the image.

    Raises:
        ServiceError: wrong content type, malformed or too large body.
        InputError: missing image, unknown or doubled field.
        OSError: when it cannot be stored.
    """
    boundary = _boundary(request)
    declared = request.headers.get("content-length", "")
    body = _Body(request)
    try:
        if declared.isdigit() and int(declared) > max_image_bytes + _OVERHEAD_BYTES:
            raise too_large(max_image_bytes)
        with target.open("wb") as file:
            sink = MultipartSink(boundary, file, max_image_bytes)
            async for piece in body.pieces():
                # The disk is written to in a thread, not in the event loop.
                await anyio.to_thread.run_sync(sink.write, piece)
            fields = sink.finish()
    except (ServiceError, InputError, OSError):
        await body.drain()
        raise
    return Upload(target, fields, sink.image_sha256)


def too_large(cap: int) -> ServiceError:
    """Give the error for an image over the cap."""
    return ServiceError(
        "upload-too-large",
        "The upload is too large",
        "the image file is larger than this service takes",
        expected=f"at most {cap} bytes",
        found="more",
        hint="crop the image around the ear, or compress it as .nii.gz",
        field=IMAGE,
    )


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
