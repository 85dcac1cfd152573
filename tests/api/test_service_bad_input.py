"""Bad input over HTTP: a problem document that names what was expected and found; no file and no job left behind."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from service_fixtures import BUNDLE, Ear, Service, as_json

Change = Callable[[npt.NDArray[Any], npt.NDArray[np.float64]], tuple[npt.NDArray[Any], npt.NDArray[np.float64]]]


def image_bytes(ear: Ear, change: Change) -> bytes:
    """Give the ear's image with its array or affine changed."""
    image: Any = nibabel.load(ear.image)
    data, affine = change(np.asarray(image.dataobj), np.array(image.affine))
    changed: Any = nibabel.Nifti1Image(data, affine)
    return gzip.compress(changed.to_bytes(), 1)


def with_header(ear: Ear, offset: int, form: str, *values: float) -> bytes:
    """Give the ear's image with header fields overwritten."""
    raw = bytearray(gzip.decompress(ear.image.read_bytes()))
    struct.pack_into(form, raw, offset, *values)
    return gzip.compress(bytes(raw), 1)


def with_nan(data: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Give the array with one value that is no number."""
    copy = data.astype(np.float32)
    copy[3, 4, 5] = np.nan
    return copy


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
DIM, PIXDIM, SROW = 40, 76, 280

IMAGES: dict[str, Callable[[Ear], bytes]] = {
    "empty": lambda ear: b"",
    "text": lambda ear: b"this is no image, but a text of some length\n" * 20,
    "gzipped-text": lambda ear: gzip.compress(b"this is no image either\n" * 100),
    "truncated": lambda ear: ear.image.read_bytes()[:20_000],
    "corrupt": lambda ear: ear.image.read_bytes()[:5000] + b"\0" * 500 + ear.image.read_bytes()[5500:],
    "two-dimensions": lambda ear: image_bytes(ear, lambda data, affine: (data[:, :, 0], affine)),
    "four-dimensions": lambda ear: image_bytes(ear, lambda data, affine: (np.stack([data, data], -1), affine)),
    "constant": lambda ear: image_bytes(ear, lambda data, affine: (np.full_like(data, 7), affine)),
    "nan": lambda ear: image_bytes(ear, lambda data, affine: (with_nan(data), affine)),
    "infinity": lambda ear: image_bytes(ear, lambda data, affine: (np.where(data > 300, np.inf, data), affine)),
    "complex": lambda ear: image_bytes(ear, lambda data, affine: (data.astype(np.complex64), affine)),
    "rgb": lambda ear: image_bytes(ear, lambda data, affine: (np.zeros(data.shape, RGB), affine)),
    "negative-dimension": lambda ear: with_header(ear, DIM, "<4h", 3, -52, 56, 60),
    "no-dimensions": lambda ear: with_header(ear, DIM, "<4h", 0, 0, 0, 0),
    "more-voxels-than-data": lambda ear: with_header(ear, DIM, "<4h", 3, 152, 156, 160),
    "singular-affine": lambda ear: with_header(ear, SROW, "<12f", 1, 2, 3, 0, 2, 4, 6, 0, 0, 0, 1, 0),
    "nan-affine": lambda ear: with_header(ear, SROW, "<12f", *[float("nan")] * 12),
    "coarse": lambda ear: image_bytes(ear, lambda data, affine: (data, affine @ np.diag([10, 10, 10, 1.0]))),
}
TOO_LARGE: dict[str, Callable[[Ear], bytes]] = {
    "bomb": lambda ear: with_header(ear, DIM, "<4h", 3, 2000, 2000, 2000),
    "absurd-dimensions": lambda ear: with_header(ear, DIM, "<4h", 3, 32767, 32767, 32767),
    "large-file": lambda ear: b"\x1f\x8b" + b"x" * 2_500_000,
}


def landmarks_with(ear: Ear, edit: Callable[[dict[str, Any]], None]) -> str:
    """Give the ear's landmarks, changed."""
    document = json.loads(ear.landmarks.read_text())
    edit(document)
    return json.dumps(document)


def keep_two(document: dict[str, Any]) -> None:
    document["landmarks"] = {name: document["landmarks"][name] for name in ("RW", "C")}


def move_outside(document: dict[str, Any]) -> None:
    document["landmarks"]["A"][0] += 500.0


def make_collinear(document: dict[str, Any]) -> None:
    names = ("RW", "C", "A")
    first = document["landmarks"]["C"]
    document["landmarks"] = {name: [first[0] + step, *first[1:]] for step, name in enumerate(names)}


def claim_other_side(document: dict[str, Any]) -> None:
    document["side"] = "right"


LANDMARKS: dict[str, Callable[[Ear], str]] = {
    "no-json": lambda ear: "{",
    "other-json": lambda ear: "[1, 2, 3]",
    "two-points": lambda ear: landmarks_with(ear, keep_two),
    "outside": lambda ear: landmarks_with(ear, move_outside),
    "collinear": lambda ear: landmarks_with(ear, make_collinear),
    "wrong-side": lambda ear: landmarks_with(ear, claim_other_side),
}


def assert_refused(service: Service, before: set[str], response: httpx.Response, status: int, code: str) -> None:
    """Check the answer and that nothing was kept."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = as_json(response)
    assert (problem["type"], problem["status"], problem["instance"]) == (f"/problems/{code}", status, "/v1/jobs")
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert all("expected" in item or "hint" in item for item in problem["errors"])
    assert str(service.data_dir) not in response.text
    assert service.stored_ids() == before
    assert service.store.queue_length() == 0


@pytest.fixture
def before(service: Service) -> set[str]:
    return service.stored_ids()


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_cannot_be_used(service: Service, ear: Ear, before: set[str], name: str) -> None:
    form = ear.form()
    form["files"]["image"] = IMAGES[name](ear)
    response = service.http.post("/v1/jobs", **form)
    assert_refused(service, before, response, 422, "invalid-image")
    assert as_json(response)["errors"][0]["field"] == "image"


@pytest.mark.parametrize("name", TOO_LARGE)
def test_images_that_are_too_large(service: Service, ear: Ear, before: set[str], name: str) -> None:
    form = ear.form()
    form["files"]["image"] = TOO_LARGE[name](ear)
    code = "upload-too-large" if name == "large-file" else "image-too-large"
    assert_refused(service, before, service.http.post("/v1/jobs", **form), 413, code)


def test_an_upload_of_undeclared_length_is_capped_while_it_streams(service: Service, before: set[str]) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    pieces = iter([head, *[b"x" * 100_000] * 40, b"\r\n--b--\r\n"])
    response = service.http.post(
        "/v1/jobs", content=pieces, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert_refused(service, before, response, 413, "upload-too-large")


@pytest.mark.parametrize("name", LANDMARKS)
def test_landmarks_that_cannot_be_used(service: Service, ear: Ear, before: set[str], name: str) -> None:
    form = ear.form()
    form["data"]["landmarks"] = LANDMARKS[name](ear)
    response = service.http.post("/v1/jobs", **form)
    assert_refused(service, before, response, 422, "invalid-landmarks")
    assert as_json(response)["errors"][0]["field"] in ("landmarks", "side")


def test_a_raw_image_without_landmarks(service: Service, ear: Ear, before: set[str]) -> None:
    response = service.http.post("/v1/jobs", files=ear.form()["files"])
    assert_refused(service, before, response, 422, "invalid-image")
    assert "landmarks" in response.text


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("bundle", "no-such-model", "unknown-bundle"),
        ("bundle", "../" + BUNDLE, "unknown-bundle"),
        ("bundle", "/etc", "unknown-bundle"),
        ("bundle", "", "unknown-bundle"),
        ("side", "port", "invalid-option"),
        ("formats", "vtk,dicom", "invalid-option"),
        ("formats", "", "invalid-option"),
        ("sied", "left", "invalid-option"),
    ],
)
def test_fields_that_cannot_be_used(
    service: Service, ear: Ear, before: set[str], field: str, value: str, code: str
) -> None:
    form = ear.form()
    form["data"][field] = value
    response = service.http.post("/v1/jobs", **form)
    assert_refused(service, before, response, 422, code)
    assert as_json(response)["errors"][0]["field"] == field


def test_a_side_that_contradicts_the_landmarks(service: Service, ear: Ear, before: set[str]) -> None:
    form = ear.form()
    form["data"]["side"] = "right"
    assert_refused(service, before, service.http.post("/v1/jobs", **form), 422, "invalid-landmarks")


def test_a_form_without_an_image(service: Service, before: set[str]) -> None:
    response = service.http.post("/v1/jobs", files={"side": (None, "left")})
    assert_refused(service, before, response, 422, "invalid-input")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/gzip", "multipart/form-data", "multipart/mixed; boundary=b", ""]
)
def test_other_content_types(service: Service, ear: Ear, before: set[str], content_type: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = service.http.post("/v1/jobs", content=ear.image.read_bytes(), headers=headers)
    assert_refused(service, before, response, 415, "unsupported-media-type")


def test_a_body_that_ends_early(service: Service, before: set[str]) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc'
    response = service.http.post("/v1/jobs", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert_refused(service, before, response, 400, "malformed-upload")


def test_a_damaged_and_an_incomplete_bundle(service: Service, ear: Ear, before: set[str], checkpoints: Path) -> None:
    for name, damage in (("damaged", _flip_last_byte), ("incomplete", Path.unlink)):
        folder = checkpoints / name
        shutil.copytree(checkpoints / BUNDLE, folder)
        _rename(folder, name)
        damage(folder / "weights.safetensors")
        try:
            form = ear.form()
            form["data"]["bundle"] = name
            response = service.http.post("/v1/jobs", **form)
            assert_refused(service, before, response, 409, "damaged-bundle")
            assert "weights.safetensors" in response.text
            listed = [model["name"] for model in service.http.get("/v1/models").json()["models"]]
            assert BUNDLE in listed
        finally:
            shutil.rmtree(folder)


def test_jobs_that_are_not_there(service: Service) -> None:
    for address in ("/v1/jobs/none", "/v1/jobs/none/report.json", "/v1/jobs/none/meshes/labyrinth.vtk"):
        response = service.http.get(address)
        assert (response.status_code, as_json(response)["type"]) == (404, "/problems/no-such-job")
    assert service.http.delete("/v1/jobs/none").status_code == 404
    wrong = service.http.put("/v1/jobs")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")


def test_a_client_that_hangs_up_leaves_nothing(service: Service, before: set[str]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + b"x" * 200_000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        service.http.post("/v1/jobs", content=pieces(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert service.http.get("/livez").status_code == 200
    # The service learns of it, and then erases what had come.
    deadline = time.monotonic() + 10
    while service.stored_ids() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert service.stored_ids() == before


def _flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def _rename(folder: Path, name: str) -> None:
    """Give a copied bundle the name of its folder."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["name"] = name
    (folder / "bundle.json").write_text(json.dumps(manifest))
