"""Multipart bodies that are wrong in framing, names or text."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

BOUNDARY = b"b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"

Part = tuple[bytes, bytes]
"""Header lines of a part and its content."""


def mutate_body(image: bytes, landmarks: bytes, seed: int) -> tuple[str, bytes]:
    """Give a wrong body of a submission and the name of what was done to it.

    Args:
        image: the content of a good image part.
        landmarks: the content of a good landmarks part.
        seed: equal seeds give equal bodies.
    """
    rng = random.Random(seed)  # noqa: S311  (reproducible, not secret)
    parts = [(_disposition(b"image"), image), (_disposition(b"landmarks"), landmarks)]
    name = rng.choice(sorted(_MUTATIONS))
    return name, _MUTATIONS[name](parts, rng)


def body_of(parts: list[Part]) -> bytes:
    """Give the multipart body of parts (RFC 7578)."""
    lines = b"".join(b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return lines + b"--" + BOUNDARY + b"--\r\n"


def _disposition(name: bytes, extra: bytes = b"") -> bytes:
    """Give the header of a part of a name."""
    return b'Content-Disposition: form-data; name="' + name + b'"' + extra


def _cut(parts: list[Part], rng: random.Random) -> bytes:
    body = body_of(parts)
    return body[: rng.randrange(len(body))]


def _framing(parts: list[Part], rng: random.Random) -> bytes:
    body = bytearray(body_of(parts))
    for _ in range(rng.randint(1, 6)):
        body[rng.randrange(120)] = rng.randrange(256)
    return bytes(body)


def _names(parts: list[Part], rng: random.Random) -> bytes:
    known = (b"image", b"landmarks", b"side", b"bundle", b"formats")
    names = (*known, b"", b"__proto__", b"a" * 5000, b"\xff\xfe", b"im\0age")
    return body_of([*parts, (_disposition(rng.choice(names)), rng.randbytes(20))])


def _texts(parts: list[Part], rng: random.Random) -> bytes:
    name = rng.choice((b"side", b"bundle", b"formats", b"landmarks"))
    values = (
        b"",
        b"../../etc/passwd",
        b"/etc/passwd",
        b"%2e%2e%2f",
        b"left\0",
        b"\xef\xbd\x8ceft",
        b"vtk," * 5000,
        b"[" * 30_000,
        b'{"a":' * 5000,
        b"1e999",
        b'{"landmarks": {"RW": [1e999, NaN, null]}}',
        b'{"side": "left", "space": "RAS", "unit": "mm", "landmarks": {"RW": [1, 2, 3], "RW": [1, 2]}}',
        rng.randbytes(300),
    )
    kept = parts if name != b"landmarks" else parts[:1]
    return body_of([*kept, (_disposition(name), rng.choice(values))])


def _heads(parts: list[Part], rng: random.Random) -> bytes:
    heads = (
        b"",
        b"Content-Disposition: form-data",
        _disposition(b"image", b'; filename="../../../tmp/x.nii"'),
        _disposition(b"image", b'; filename="' + b"x" * 20_000 + b'"'),
        _disposition(b"image") + b"\r\nContent-Transfer-Encoding: base64",
        b"\r\n".join([b"X-A: b"] * 3000 + [_disposition(b"image")]),
        b"Content-Disposition: form-data; name*=utf-8''image",
    )
    return body_of([(rng.choice(heads), parts[0][1]), parts[1]])


def _many(parts: list[Part], rng: random.Random) -> bytes:
    return body_of([*parts, *[(_disposition(rng.choice((b"side", b"x"))), b"left")] * rng.choice((1, 2000))])


_MUTATIONS: Mapping[str, Callable[[list[Part], random.Random], bytes]] = {
    "body-cut": _cut,
    "body-framing": _framing,
    "body-names": _names,
    "body-texts": _texts,
    "body-heads": _heads,
    "body-many": _many,
}
