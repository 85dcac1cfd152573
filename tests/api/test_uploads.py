"""The multipart sink: any cutting of the body gives the same, and every cap holds."""

from __future__ import annotations

import collections
import io
import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.problems import ServiceError
from api.uploads import MultipartSink, job_rules
from model.errors import CochlearError, InputError, OptionError

Parts = list[tuple[str, bytes]]


class Kept(io.BytesIO):
    """Bytes that can be looked at after closing."""

    content = b""

    def close(self) -> None:
        """Keep what was written."""
        if not self.closed:
            self.content = self.getvalue()
        super().close()


CAP = 2000


def encode(parts: Parts) -> tuple[bytes, bytes]:
    """Give boundary and body as an independent client writes them."""
    files = [(name, (name if name == "image" else None, content)) for name, content in parts]
    request = httpx.Request("POST", "http://localhost", files=files)
    boundary = request.headers["content-type"].partition("boundary=")[2]
    return boundary.encode(), request.read()


def feed(boundary: bytes, pieces: list[bytes]) -> tuple[bytes, dict[str, str]]:
    target = Kept()
    sink = MultipartSink(boundary, lambda _: target, job_rules(CAP))
    for piece in pieces:
        sink.write(piece)
    fields = sink.finish()
    assert target.closed
    return target.content, fields


def receive(parts: Parts) -> tuple[bytes, dict[str, str]]:
    boundary, body = encode(parts)
    return feed(boundary, [body])


@given(
    image=st.binary(max_size=300) | st.sampled_from([b"\r\n", b"\r\n--", b"--", b"\r", b"\n--\r\n"]),
    landmarks=st.text(max_size=100),
    cuts=st.lists(st.integers(1, 700), max_size=20),
)
def test_the_cutting_of_the_body_does_not_matter(image: bytes, landmarks: str, cuts: list[int]) -> None:
    boundary, body = encode([("side", b"left"), ("image", image), ("landmarks", landmarks.encode())])
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in itertools.pairwise(places)]
    assert feed(boundary, pieces) == (image, {"side": "left", "landmarks": landmarks})


def test_an_image_of_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    assert receive([("image", b"x" * CAP)])[0] == b"x" * CAP
    with pytest.raises(ServiceError) as caught:
        receive([("image", b"x" * (CAP + 1))])
    assert caught.value.code == "upload-too-large"


def test_nothing_over_the_cap_is_written() -> None:
    boundary, body = encode([("image", b"x" * CAP * 10)])
    target = Kept()
    sink = MultipartSink(boundary, lambda _: target, job_rules(CAP))
    pieces = (body[start : start + 100] for start in range(0, len(body), 100))
    with pytest.raises(ServiceError):
        collections.deque(map(sink.write, pieces), maxlen=0)
    assert not target.closed
    sink.close()
    assert 0 < len(target.content) <= CAP


@pytest.mark.parametrize(
    ("parts", "kind", "field"),
    [
        ([("side", b"left")], InputError, "image"),
        ([("image", b"x"), ("sied", b"left")], OptionError, "sied"),
        ([("image", b"x"), ("image", b"y")], OptionError, "image"),
        ([("image", b"x"), ("side", b"left"), ("side", b"left")], OptionError, "side"),
        ([("image", b"x"), ("landmarks", b"x" * 70_000)], OptionError, "landmarks"),
        ([("image", b"x"), ("side", b"\xff\xfe")], InputError, None),
    ],
)
def test_fields_that_cannot_be_used_are_named(parts: Parts, kind: type[CochlearError], field: str | None) -> None:
    with pytest.raises(kind) as caught:
        receive(parts)
    assert caught.value.field == field
    assert caught.value.expected is not None


@pytest.mark.parametrize(
    "body", [b"", b"--b\r\n", b"no multipart at all", b'--b\r\nContent-Disposition: x; name="image"\r\n\r\nabc']
)
def test_broken_bodies_are_malformed(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        feed(b"b", [body])
    assert caught.value.code == "malformed-upload"


def test_headers_without_end_are_refused() -> None:
    with pytest.raises(ServiceError):
        feed(b"b", [b"--b\r\nContent-Disposition: " + b"x" * 100_000])
