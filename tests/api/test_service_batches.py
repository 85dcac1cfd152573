"""Batches on the real stack: partial success, tables, erasing, and never half a batch."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_fixtures import mentions
from service_fixtures import BUNDLE, Ear, Json, Service, as_json
from webhook_receiver import wait_until

from model.structures import STRUCTURE_IDS


def post(service: Service, images: list[bytes], **data: str) -> httpx.Response:
    files = [("image", ("x.nii.gz", image)) for image in images]
    return service.http.post("/v1/batches", files=files, data=data)


def entry(ear: Ear, **more: Any) -> Json:  # noqa: ANN401
    return {"landmarks": json.loads(ear.landmarks.read_text()), **more}


def wait_until_done(service: Service, batch: Json) -> Json:
    wait_until(lambda: as_json(service.http.get(batch["links"]["self"]))["done"] == 1, 60)
    return as_json(service.http.get(batch["links"]["self"]))


@pytest.fixture(scope="module")
def done(controlled: Service, ear: Ear) -> Json:
    """A finished batch of four: two good ears, one without landmarks, one that is no image."""
    image = ear.image.read_bytes()
    manifest = json.dumps([entry(ear), {}, entry(ear, formats=["ply"]), entry(ear)])
    response = post(controlled, [image, image, image, b"none"], manifest=manifest, formats="stl")
    assert response.status_code == 202, response.text
    batch = as_json(response)
    assert response.headers["location"] == batch["links"]["self"]
    assert [item["state"] for item in batch["items"]] == ["queued", "refused", "queued", "refused"]
    return wait_until_done(controlled, batch)


def test_bad_ears_are_refused_and_the_others_computed(controlled: Service, done: Json) -> None:
    assert done["counts"] == {"refused": 2, "succeeded": 2}
    assert (done["total"], [item["index"] for item in done["items"]]) == (4, [0, 1, 2, 3])
    problems = [item["problem"] and item["problem"]["type"].rpartition("/")[2] for item in done["items"]]
    assert problems == [None, "invalid-image", None, "invalid-image"]
    for place, form in ((0, "stl"), (2, "ply")):
        job = as_json(controlled.http.get(done["items"][place]["link"]))
        assert f"meshes/modiolus.{form}" in job["links"]["results"], "the manifest goes before the common fields"


def test_the_table_has_a_row_for_each_ear_and_structure(controlled: Service, done: Json) -> None:
    response = controlled.http.get(done["links"]["measurements"])
    assert response.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["index"], row["structure"]) for row in table] == [
        *(("0", name) for name in STRUCTURE_IDS),
        ("1", ""),
        *(("2", name) for name in STRUCTURE_IDS),
        ("3", ""),
    ]
    report = as_json(controlled.http.get(done["items"][0]["link"] + "/report.json"))
    for row, structure in zip(table[:4], report["structures"], strict=True):
        assert float(row["mesh_volume_mm3"]) == pytest.approx(structure["mesh_volume_mm3"], abs=1e-4)
        assert (row["bundle"], row["side"], row["state"]) == (BUNDLE, "left", "succeeded")
        assert row["quality"] == report["quality"]["verdict"]
    assert (table[4]["state"], table[4]["problem"], table[4]["mesh_volume_mm3"]) == ("refused", "invalid-image", "")


def test_batches_are_listed_and_an_erased_job_leaves_its_place(controlled: Service, done: Json) -> None:
    listed = as_json(controlled.http.get("/v1/batches"))["batches"]
    assert done["id"] in [batch["id"] for batch in listed]
    erased = done["items"][2]
    assert controlled.http.delete(erased["link"]).status_code == 204
    left = as_json(controlled.http.get(done["links"]["self"]))
    assert (left["items"][2]["state"], left["items"][2]["job"]) == ("erased", None)
    wait_until(lambda: mentions(controlled, erased["job"]) == [])


def test_an_archive_with_a_manifest_is_a_batch_and_erasing_it_leaves_nothing(controlled: Service, ear: Ear) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("two.nii.gz", "one.nii.gz"):
            archive.writestr(name, ear.image.read_bytes())
    manifest = json.dumps([entry(ear, name="two.nii.gz"), entry(ear, name="absent.nii"), {"name": "one.nii.gz"}])
    files = {"archive": ("patient.zip", buffer.getvalue())}
    response = controlled.http.post("/v1/batches", files=files, data={"manifest": manifest})
    batch = as_json(response)
    assert [item["state"] for item in batch["items"]] == ["queued", "refused", "refused"]
    assert batch["items"][1]["problem"]["detail"] == "the image is missing"
    job = batch["items"][0]["job"]

    def erased() -> bool:
        return controlled.http.delete(batch["links"]["self"]).status_code in (204, 404)

    wait_until(erased)
    assert controlled.http.get(batch["links"]["self"]).status_code == 404
    assert as_json(controlled.http.get(batch["links"]["measurements"]))["type"] == "/problems/no-such-batch"
    wait_until(lambda: mentions(controlled, job) == mentions(controlled, batch["id"]) == [])


def test_a_batch_sent_again_with_its_key_is_the_same_until_it_is_erased(controlled: Service, ear: Ear) -> None:
    manifest = json.dumps([entry(ear)])

    def send(**data: str) -> httpx.Response:
        files = {"image": ear.image.read_bytes()}
        headers = {"Idempotency-Key": "batch-1"}
        return controlled.http.post("/v1/batches", files=files, data={"manifest": manifest, **data}, headers=headers)

    first, again = send(), send()
    assert (first.status_code, again.status_code) == (202, 202)
    assert (as_json(first)["id"], again.headers["idempotent-replayed"]) == (as_json(again)["id"], "true")
    assert as_json(send(formats="ply"))["type"] == "/problems/idempotency-key-reused"
    address = as_json(first)["links"]["self"]
    wait_until(lambda: controlled.http.delete(address).status_code in (204, 404))
    wait_until(lambda: as_json(send()).get("id") not in (None, as_json(first)["id"]))
    wait_until(lambda: controlled.http.delete(as_json(send())["links"]["self"]).status_code == 204)


def test_a_batch_of_which_nothing_can_be_used_is_refused(controlled: Service, ear: Ear) -> None:
    before = controlled.stored_ids()
    image = ear.image.read_bytes()
    response = post(controlled, [image, b"x"], manifest=json.dumps([{"sied": "left"}, {"webhook": 5}]))
    problem = as_json(response)
    assert (response.status_code, problem["type"]) == (422, "/problems/no-usable-item")
    assert [item["field"] for item in problem["errors"]] == ["[0].sied", "[1].webhook"]
    assert controlled.stored_ids() == before


@pytest.mark.parametrize(
    ("images", "manifest", "field"),
    [
        (2, "[{}]", "manifest"),
        (1, "{}", "manifest"),
        (1, "[1]", "manifest"),
        (1, "[" * 20000, "manifest"),
        (1, '[{"name": "x"}]', "manifest"),
        (7, None, "image"),
        (0, None, "image"),
    ],
)
def test_forms_that_fit_nothing_are_refused(controlled: Service, images: int, manifest: str | None, field: str) -> None:
    data = {"side": "left"} if manifest is None else {"manifest": manifest}
    response = controlled.http.post(
        "/v1/batches", files=[("image", b"x")] * images or {"side": (None, "left")}, data=data if images else {}
    )
    assert (response.status_code, as_json(response)["errors"][0]["field"]) == (422, field), response.text


def test_the_files_of_a_batch_have_a_cap_together(controlled: Service) -> None:
    response = post(controlled, [b"x" * 1_900_000] * 3)
    assert (response.status_code, as_json(response)["type"]) == (413, "/problems/upload-too-large")
    assert list((controlled.data_dir / "uploads").iterdir()) == []


def test_a_batch_that_was_cut_off_leaves_nothing(controlled: Service, ear: Ear) -> None:
    before = controlled.stored_ids()

    def half() -> Any:  # noqa: ANN401
        yield b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + ear.image.read_bytes()[:1000]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        controlled.http.post("/v1/batches", content=half(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    wait_until(lambda: controlled.stored_ids() == before)
    assert Path(controlled.data_dir / "uploads").is_dir()
