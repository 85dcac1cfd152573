"""Text that is none, in places where clients may write: refused in due form, never a server error."""

from __future__ import annotations

import io
import zipfile

import pytest
from service_fixtures import Ear, Service, as_json

HALF = r"\ud800"
"""Half of a character, which JSON can name and no encoding can write."""


@pytest.mark.parametrize(
    "manifest",
    [
        f'[{{"{HALF}": 1}}]',
        f'[{{"bundle": "{HALF}"}}]',
        f'[{{"side": "{HALF}"}}]',
        f'[{{"formats": ["{HALF}"]}}]',
        f'[{{"landmarks": {{"{HALF}": [1, 2, 3]}}}}]',
        '[{"landmarks": ' + '{"a":' * 900 + "1" + "}" * 900 + "}]",
        '[{"expires_in": ' + "9" * 4000 + "}]",
        '[{"expires_in": ' + "9" * 6000 + "}]",
        "[" * 20_000,
    ],
)
def test_a_manifest_that_is_no_text_is_refused(service: Service, ear: Ear, manifest: str) -> None:
    before = service.stored_ids()
    for name, content in (("image", ear.image.read_bytes()), ("archive", archive_of(ear))):
        answer = service.http.post("/v1/batches", files={name: content}, data={"manifest": manifest})
        assert answer.status_code == 422, answer.text
        assert as_json(answer)["type"] in ("/problems/invalid-input", "/problems/no-usable-item")
    assert service.stored_ids() == before


@pytest.mark.parametrize("body", [b"[" * 30_000, b'{"bundle": "\xff"}', b"\xff", b'{"bundle": ' + b"9" * 6000 + b"}"])
def test_json_that_cannot_be_read_is_a_bad_request(service: Service, body: bytes) -> None:
    answer = service.http.put("/v1/aliases/other", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, as_json(answer)["type"]) == (400, "/problems/bad-request")


@pytest.mark.parametrize("body", [f'{{"bundle": "{HALF}"}}', f'{{"{HALF}": 1, "bundle": "small"}}', "null", "NaN", ""])
def test_json_of_another_shape_is_refused(service: Service, body: str) -> None:
    answer = service.http.put("/v1/aliases/other", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


def archive_of(ear: Ear) -> bytes:
    """Give an archive of one ear."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ear.nii.gz", ear.image.read_bytes())
    return buffer.getvalue()
