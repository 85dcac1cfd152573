"""Reading images: every kind that is taken, and every kind that is refused."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_fixtures import load_nifti

from model.errors import ImageError, ImageTooLargeError
from model.volumes.read import check_image_header, read_image
from model.volumes.volume import ImageLimits

SHAPE = (20, 24, 28)
AFFINE = np.array([[-0.3, 0, 0, 5], [0, 0, 0.5, -7], [0, 0.4, 0, 9], [0, 0, 0, 1.0]])


def ramp() -> npt.NDArray[np.int16]:
    """Values that differ in every voxel, from -1024 on."""
    return (np.arange(np.prod(SHAPE)) % 20000 - 1024).astype(np.int16).reshape(SHAPE)


def save(path: Path, data: npt.NDArray[np.generic], affine: npt.NDArray[np.float64] | None = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine, dtype=data.dtype), path)
    return path


@pytest.mark.parametrize("name", ["ear.nii", "ear.nii.gz"])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_scalar_types(tmp_path: Path, name: str, kind: str) -> None:
    data = np.abs(ramp() % 100).astype(kind)
    volume = read_image(save(tmp_path / name, data))
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.data, data.astype(np.float32))
    assert np.allclose(volume.affine, AFFINE, atol=1e-6)
    assert np.allclose(volume.spacing_mm, (0.3, 0.4, 0.5))
    assert volume.shape == SHAPE
    assert volume.warnings == ()
    assert int(volume.header["datatype"]) == load_nifti(tmp_path / name).header["datatype"]


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_byte_orders_versions_and_scaling(tmp_path: Path, endian: Literal["<", ">"], version: int) -> None:
    kinds: dict[int, tuple[Any, Any]] = {
        1: (nibabel.Nifti1Header, nibabel.Nifti1Image),
        2: (nibabel.Nifti2Header, nibabel.Nifti2Image),
    }
    header_class, image_class = kinds[version]
    header = header_class(endianness=endian)
    header.set_data_dtype(np.dtype("i2").newbyteorder(endian))
    image = image_class(ramp(), AFFINE, header)
    image.header.set_slope_inter(0.5, -100.0)  # with these set, nibabel stores the array itself
    image.to_filename(tmp_path / "ear.nii.gz")
    volume = read_image(tmp_path / "ear.nii.gz")
    assert np.array_equal(volume.data, ramp() * 0.5 - 100.0)
    assert np.allclose(volume.data, load_nifti(tmp_path / "ear.nii.gz").get_fdata())
    assert volume.header.endianness == endian


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_no_scaling(tmp_path: Path, slope: float) -> None:
    path = save(tmp_path / "ear.nii", ramp())
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", slope, 77.0)
    path.write_bytes(content)
    assert np.array_equal(read_image(path).data, ramp())


def test_infinite_intercept_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "ear.nii", ramp())
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 1.0, float("inf"))
    path.write_bytes(content)
    with pytest.raises(ImageError, match="scaling"):
        read_image(path)


def test_names_play_no_part(tmp_path: Path) -> None:
    plain, packed = save(tmp_path / "a.nii", ramp()), save(tmp_path / "b.nii.gz", ramp())
    for source, name in ((plain, "c.nii.gz"), (packed, "d.nii"), (packed, "upload")):
        path = tmp_path / name
        path.write_bytes(source.read_bytes())
        assert np.array_equal(read_image(path).data, ramp())


def test_header_extensions_are_skipped(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ramp(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"text" * 100))
    nibabel.save(image, tmp_path / "ear.nii.gz")
    assert np.array_equal(read_image(tmp_path / "ear.nii.gz").data, ramp())


def test_fourth_axis_of_length_one_is_dropped(tmp_path: Path) -> None:
    assert np.array_equal(read_image(save(tmp_path / "ear.nii", ramp()[..., None])).data, ramp())


def text(path: Path) -> None:
    path.write_text("patient: ear\n" * 100)


def gzipped_text(path: Path) -> None:
    path.write_bytes(gzip.compress(b"patient: ear\n" * 100))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gzipped_nothing(path: Path) -> None:
    path.write_bytes(gzip.compress(b""))


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    """Leave no file."""


def saved_gz(path: Path) -> bytes:
    return save(path.with_name("whole.nii.gz"), ramp()).read_bytes()


def cut_gzip(path: Path) -> None:
    content = saved_gz(path)
    path.write_bytes(content[: len(content) // 2])


def gzip_without_trailer(path: Path) -> None:
    path.write_bytes(saved_gz(path)[:-6])


def gzip_wrong_checksum(path: Path) -> None:
    content = bytearray(saved_gz(path))
    content[-6] ^= 1
    path.write_bytes(content)


def gzip_bad_middle(path: Path) -> None:
    content = bytearray(saved_gz(path))
    middle = len(content) // 2
    content[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(content)


def cut_plain(path: Path) -> None:
    path.write_bytes(save(path, ramp()).read_bytes()[:-3])


def cut_header(path: Path) -> None:
    path.write_bytes(save(path, ramp()).read_bytes()[:200])


def two_dimensional(path: Path) -> None:
    save(path, ramp()[0])


def one_slice(path: Path) -> None:
    save(path, ramp()[:, :, :1])


def four_dimensional(path: Path) -> None:
    save(path, np.stack([ramp()] * 3, axis=-1))


def constant(path: Path) -> None:
    save(path, np.full(SHAPE, -1024, dtype=np.int16))


def not_a_number(path: Path) -> None:
    data = ramp().astype(np.float32)
    data[3, 4, 5] = np.nan
    save(path, data)


def infinite(path: Path) -> None:
    data = ramp().astype(np.float64)
    data[3, 4, 5] = -np.inf
    save(path, data)


def beyond_float32(path: Path) -> None:
    data = ramp().astype(np.float64)
    data[3, 4, 5] = 1e300
    save(path, data)


def complex_values(path: Path) -> None:
    save(path, ramp().astype(np.complex64))


def colours(path: Path) -> None:
    save(path, np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def singular(path: Path) -> None:
    save(path, ramp())
    content = bytearray(path.read_bytes())
    content[280:328] = struct.pack("<12f", 0.3, 0.3, 0, 0, 0.3, 0.3, 0, 0, 0, 0, 0.3, 0)
    path.write_bytes(content)


def zero_affine(path: Path) -> None:
    save(path, ramp())
    content = bytearray(path.read_bytes())
    content[280:328] = struct.pack("<12f", *[0.0] * 12)
    path.write_bytes(content)


def affine_of_nan(path: Path) -> None:
    save(path, ramp())
    content = bytearray(path.read_bytes())
    content[280:284] = struct.pack("<f", float("nan"))
    path.write_bytes(content)


def thick_slices(path: Path) -> None:
    save(path, ramp(), np.diag([0.3, 0.3, 5.0, 1.0]))


def microscope(path: Path) -> None:
    save(path, ramp(), np.diag([0.001, 0.001, 0.001, 1.0]))


def narrow_view(path: Path) -> None:
    save(path, ramp(), np.diag([0.1, 0.4, 0.4, 1.0]))


def micrometres(path: Path) -> None:
    image = nibabel.Nifti1Image(ramp(), AFFINE)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, path)


def heavy_shear(path: Path) -> None:
    affine = np.eye(4) * 0.4
    affine[0, 1] = 0.5
    save(path, ramp(), affine)


def pair_magic(path: Path) -> None:
    content = bytearray(save(path, ramp()).read_bytes())
    content[344:348] = b"ni1\0"
    path.write_bytes(content)


def patch_header(offset: int, form: str, *values: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        content = bytearray(save(path, ramp()).read_bytes())
        packed = struct.pack("<" + form, *values)
        content[offset : offset + len(packed)] = packed
        path.write_bytes(content)

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (nothing, "cannot be read"),
        (folder, "cannot be read"),
        (empty, "empty"),
        (gzipped_nothing, "not a NIfTI"),
        (text, "not a NIfTI"),
        (gzipped_text, "not a NIfTI"),
        (cut_gzip, "damaged"),
        (gzip_without_trailer, "damaged"),
        (gzip_wrong_checksum, "damaged"),
        (gzip_bad_middle, "damaged"),
        (cut_plain, "cut short"),
        (cut_header, "not a NIfTI"),
        (pair_magic, "single-file"),
        (two_dimensional, "not a volume"),
        (one_slice, "not a volume"),
        (four_dimensional, "not a volume"),
        (constant, "constant"),
        (not_a_number, "not finite"),
        (infinite, "not finite"),
        (beyond_float32, "not finite"),
        (complex_values, "not plain numbers"),
        (colours, "not plain numbers"),
        (singular, "singular"),
        (zero_affine, "singular"),
        (affine_of_nan, "singular"),
        (heavy_shear, "heavily sheared"),
        (thick_slices, "spacing"),
        (microscope, "spacing"),
        (narrow_view, "field of view"),
        (micrometres, "other units"),
        (patch_header(40, "h", 0), "dimensions make no sense"),
        (patch_header(40, "h", 9), "dimensions make no sense"),
        (patch_header(40, "h", -3), "dimensions make no sense"),
        (patch_header(42, "h", -20), "dimensions make no sense"),
        (patch_header(42, "h", 0), "dimensions make no sense"),
        (patch_header(42, "3h", 32767, 32767, 32767), "dimensions are absurd"),
        (patch_header(42, "3h", 2000, 2000, 2000), "too large when decompressed"),
        (patch_header(42, "3h", 200, 240, 280), "cut short"),
        (patch_header(70, "h", 9999), "not plain numbers"),
        (patch_header(70, "h", 1), "not plain numbers"),
        (patch_header(72, "h", 8), "contradicts itself"),
        (patch_header(108, "f", float("nan")), "misplaces"),
        (patch_header(108, "f", 1e30), "misplaces"),
        (patch_header(108, "f", -1.0), "misplaces"),
    ],
)
def test_refused(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "secret-name.nii"
    make(path)
    with pytest.raises(ImageError, match=said) as caught:
        read_image(path)
    assert "secret-name" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.field == "image"


def bomb(path: Path, dims: tuple[int, int, int], members: int) -> None:
    """Write a gzip file of a header and zeros, 16 MiB for every 16 KiB of file."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(dims)
    header.set_sform(np.diag([0.2, 0.2, 0.2, 1.0]), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    start = header.binaryblock + bytes(4) + b"\x01\x00" + bytes(2 * dims[0] ** 3 - 2 if dims[0] < 100 else 0)
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**24)) * members)


def test_declared_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    bomb(path, (1000, 1000, 1000), members=60)
    assert path.stat().st_size < 2**20 < 60 * 2**24
    with pytest.raises(ImageTooLargeError, match="decompressed"):
        check_image_header(path)
    with pytest.raises(ImageTooLargeError, match="decompressed"):
        read_image(path)


def test_undeclared_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    bomb(path, (40, 40, 40), members=60)
    tracemalloc.start()
    with pytest.raises(ImageError, match="goes on behind"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**25  # a few chunks, not the gigabyte behind


def test_size_of_the_file_is_limited(tmp_path: Path) -> None:
    path = save(tmp_path / "ear.nii", ramp())
    with pytest.raises(ImageTooLargeError, match="file is too large"):
        read_image(path, ImageLimits(max_file_bytes=1000))


def test_header_alone_is_judged_without_voxels(tmp_path: Path) -> None:
    path = tmp_path / "ear.nii.gz"
    not_a_number(path)
    header, placement = check_image_header(path)
    assert header.shape == SHAPE
    assert np.allclose(placement.affine, AFFINE, atol=1e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(tmp_path_factory.mktemp("whole") / "ear.nii", ramp()).read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=12))
def test_any_damage_to_the_header_is_read_or_refused(
    whole: bytes, tmp_path: Path, damage: list[tuple[int, int]]
) -> None:
    content = bytearray(whole)
    for position, value in damage:
        content[position] = value
    path = tmp_path / "ear.nii"
    path.write_bytes(content)
    try:
        volume = read_image(path)
    except ImageError:
        return
    assert np.isfinite(volume.data).all()
    assert np.isfinite(np.linalg.inv(volume.affine)).all()
