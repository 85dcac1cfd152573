"""NIfTI files that are wrong in every way a seed can think of, made from one that is right."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Mapping

_HEADER_BYTES = 348
_FIELDS: Mapping[str, tuple[int, str]] = {
    "sizeof_hdr": (0, "i"),
    "dim_info": (39, "B"),
    "dim": (40, "8h"),
    "intent_p": (56, "3f"),
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "slice_start": (74, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl": (112, "2f"),
    "slice_end": (120, "h"),
    "slice_code": (122, "B"),
    "xyzt_units": (123, "B"),
    "cal": (124, "2f"),
    "descrip": (148, "80s"),
    "aux_file": (228, "24s"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "6f"),
    "srow": (280, "12f"),
    "intent_name": (328, "16s"),
    "magic": (344, "4s"),
    "extension": (348, "4B"),
}
"""Places and types of the fields of a NIfTI-1 header (nifti1.h)."""

_INTEGERS = (0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 127, 128, 255, 256, 512, 768, 1024, 1792, 2048, 2304, 32767, -32768)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 352.0, 1e-45, 1e-6, 1e9, 1e30, -1e30, 3.4e38, float("inf"), float("nan"))

Mutation = Callable[[bytes, random.Random], bytes]
"""Gives a file to send from the uncompressed good one."""


def mutate(raw: bytes, seed: int) -> tuple[str, bytes]:
    """Give a wrong file and the name of what was done to it.

    Args:
        raw: a good uncompressed NIfTI-1 file.
        seed: equal seeds give equal files.
    """
    rng = random.Random(seed)  # noqa: S311  (reproducible, not secret)
    name = rng.choice(sorted(_MUTATIONS))
    return name, _MUTATIONS[name](raw, rng)


def _fields(raw: bytes, rng: random.Random) -> bytes:
    """Set one to four header fields to extreme values."""
    changed = bytearray(raw)
    for name in rng.sample(sorted(_FIELDS), rng.randint(1, 4)):
        _set_field(changed, name, rng)
    return _packed(bytes(changed), rng)


def _set_field(changed: bytearray, name: str, rng: random.Random) -> None:
    """Overwrite one value of a field, or all of them."""
    place, form = _FIELDS[name]
    kind, count = form[-1], int(form[:-1] or 1)
    if kind == "s":
        changed[place : place + count] = rng.randbytes(count)
        return
    size = struct.calcsize(kind)
    for index in range(count) if rng.random() < 0.3 else [rng.randrange(count)]:
        changed[place + index * size : place + (index + 1) * size] = _extreme(kind, rng)


def _extreme(kind: str, rng: random.Random) -> bytes:
    """Give an unlikely value of a type."""
    if kind == "f":
        return struct.pack("<f", rng.choice(_FLOATS))
    value = rng.choice(_INTEGERS)
    return struct.pack("<" + kind, value % 256 if kind == "B" else value)


def _header_bits(raw: bytes, rng: random.Random) -> bytes:
    """Flip up to eight bits of the header."""
    return _packed(_flipped(raw, rng, rng.randint(1, 8), _HEADER_BYTES + 4), rng)


def _stream_bits(raw: bytes, rng: random.Random) -> bytes:
    """Flip bits of the compressed stream."""
    packed = gzip.compress(raw, 1, mtime=0)
    return _flipped(packed, rng, rng.randint(1, 5), len(packed))


def _cut(raw: bytes, rng: random.Random) -> bytes:
    """End early, before or after compression."""
    if rng.random() < 0.5:
        return _packed(raw[: rng.randrange(len(raw))], rng)
    packed = gzip.compress(raw, 1, mtime=0)
    return packed[: rng.randrange(len(packed))]


def _longer(raw: bytes, rng: random.Random) -> bytes:
    """Go on after the end."""
    tail = rng.randbytes(rng.choice((1, 100, 70_000)))
    return _packed(raw + tail, rng) if rng.random() < 0.5 else gzip.compress(raw, 1, mtime=0) + tail


def _sizes(raw: bytes, rng: random.Random) -> bytes:
    """State another size of the image, small or absurd."""
    choices = (0, 1, 2, 3, 5, 52, 56, 60, 100, 500, 1024, 2048, 4096, 32767, -1)
    changed = bytearray(raw)
    struct.pack_into("<8h", changed, 40, rng.choice((2, 3, 3, 3, 4, 7)), *(rng.choice(choices) for _ in range(7)))
    return _packed(bytes(changed), rng)


def _bomb(raw: bytes, rng: random.Random) -> bytes:
    """Unpack to far more than was sent: zeros after the header, of a size that the header may or may not state."""
    changed = bytearray(raw[:_HEADER_BYTES]) + b"\0\0\0\0"
    side = rng.choice((200, 400, 700))
    if rng.random() < 0.7:
        struct.pack_into("<8h", changed, 40, 3, side, side, side, 1, 1, 1, 1)
        struct.pack_into("<2h", changed, 70, 2, 8)
    return gzip.compress(bytes(changed) + bytes(side**3), 1, mtime=0)


def _nested(raw: bytes, rng: random.Random) -> bytes:
    """Compress several times, or in several members."""
    if rng.random() < 0.5:
        return gzip.compress(gzip.compress(raw, 1, mtime=0), 1, mtime=0)
    place = rng.randrange(1, len(raw))
    return gzip.compress(raw[:place], 1, mtime=0) + gzip.compress(raw[place:], 1, mtime=0)


def _swapped(raw: bytes, rng: random.Random) -> bytes:
    """Claim the other byte order, for the header or for the voxels only."""
    changed = bytearray(raw)
    for place, form in _FIELDS.values():
        kind, count = form[-1], int(form[:-1] or 1)
        if kind in "hif" and rng.random() < 0.9:
            values = struct.unpack_from(f"<{count}{kind}", raw, place)
            struct.pack_into(f">{count}{kind}", changed, place, *values)
    return _packed(bytes(changed), rng)


def _extended(raw: bytes, rng: random.Random) -> bytes:
    """Insert header extensions whose sizes lie."""
    size = rng.choice((0, 1, 8, 16, 32, -16, 2**31 - 1))
    extension = struct.pack("<2i", size, rng.choice((0, 2, 4, 6, 44))) + rng.randbytes(rng.choice((0, 8, 24)))
    changed = bytearray(raw[:_HEADER_BYTES]) + b"\1\0\0\0" + extension + raw[352:]
    struct.pack_into("<f", changed, 108, rng.choice((352.0, 352.0 + len(extension), 0.0, 1e9)))
    return _packed(bytes(changed), rng)


def _noise(raw: bytes, rng: random.Random) -> bytes:
    """Random bytes, with or without what a reader looks for first."""
    noise = bytearray(rng.randbytes(rng.choice((0, 1, 10, 348, 352, 5000))))
    if len(noise) >= _HEADER_BYTES and rng.random() < 0.7:
        noise[:4], noise[344:348] = raw[:4], raw[344:348]
    start = rng.choice((b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"BZh9", b"\x28\xb5\x2f\xfd"))
    return start + bytes(noise)


def _values(raw: bytes, rng: random.Random) -> bytes:
    """Read the voxels as another type, so that they hold what they hold."""
    changed = bytearray(raw)
    datatype, bits = rng.choice(((2, 8), (4, 16), (16, 32), (64, 64), (256, 8), (512, 16), (32, 64), (128, 24)))
    struct.pack_into("<2h", changed, 70, datatype, bits)
    struct.pack_into("<2f", changed, 112, rng.choice(_FLOATS), rng.choice(_FLOATS))
    return _packed(bytes(changed), rng)


def _flipped(data: bytes, rng: random.Random, count: int, within: int) -> bytes:
    """Flip bits among the first bytes."""
    changed = bytearray(data)
    for _ in range(count):
        changed[rng.randrange(min(within, len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _packed(data: bytes, rng: random.Random) -> bytes:
    """Compress a file, mostly."""
    return gzip.compress(data, 1, mtime=0) if rng.random() < 0.8 else data


_MUTATIONS: Mapping[str, Mutation] = {
    "bomb": _bomb,
    "cut": _cut,
    "extended": _extended,
    "fields": _fields,
    "header-bits": _header_bits,
    "longer": _longer,
    "nested": _nested,
    "noise": _noise,
    "sizes": _sizes,
    "stream-bits": _stream_bits,
    "swapped": _swapped,
    "values": _values,
}
