"""What the service writes about its work: whose it was, and nothing of what users put into it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from service_fixtures import BUNDLE, Ear, Service, as_json, write_small_bundle

from worker.jobs import JobState

MARK = "Zaphod1952"
"""Stands for a patient's name; no part of the service has it."""
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def marked_ear(ear: Ear, folder: Path, name: str, data: npt.NDArray[np.float32] | None = None) -> Path:
    """Write the image of an ear with the marker in every text of its header, and in its name."""
    picture = nibabel.load(ear.image)
    assert isinstance(picture, nibabel.Nifti1Image)
    voxels = np.asarray(picture.dataobj) if data is None else data
    marked = nibabel.Nifti1Image(voxels, picture.affine, picture.header)
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        marked.header[field] = MARK.encode()
    extension = nibabel.nifti1.Nifti1Extension("comment", MARK.encode())
    marked.header.extensions.append(extension)
    path = folder / f"{MARK}-{name}.nii.gz"
    marked.to_filename(path)
    return path


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose data folder has the marker in its path."""
    checkpoints = tmp_path_factory.mktemp("bundles")
    write_small_bundle(checkpoints)
    data = tmp_path_factory.mktemp("data") / f"folder-{MARK}"
    with Service(data, checkpoints, COCHLEAR_LOG_FORMAT="json", COCHLEAR_MAX_ATTEMPTS="1") as service:
        yield service


@pytest.fixture(scope="module")
def errors(logged: Service, ear: Ear, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The bodies of errors, after jobs that end well, are refused, fail and crash."""
    folder = tmp_path_factory.mktemp("marked")
    good = marked_ear(ear, folder, "good")
    landmarks = json.loads(ear.landmarks.read_text())
    http = logged.http
    bodies: list[str] = []

    def post(image: bytes, document: object = landmarks, query: str = "", **fields: str) -> dict[str, Any]:
        files = {"image": (f"{MARK}.nii.gz", image, f"text/{MARK}")}
        form = {"landmarks": json.dumps(document), **fields}
        headers = {"X-Request-Id": f"{MARK}\x22<script>", "User-Agent": MARK, "Cookie": MARK, "traceparent": MARK}
        response = http.post("/v1/jobs" + query, files=files, data=form, headers=headers)
        if response.status_code != 202:
            bodies.append(response.text)
        return as_json(response)

    image = good.read_bytes()
    first = http.post(
        "/v1/jobs",
        files={"image": (f"../{MARK}/{MARK}.nii.gz", image)},
        data={"landmarks": json.dumps(landmarks)},
        headers={"X-Request-Id": "ward-7", "traceparent": TRACEPARENT},
    )
    assert first.status_code == 202, first.text
    assert (first.headers["x-request-id"], first.headers["traceparent"]) == ("ward-7", TRACEPARENT)
    assert logged.wait_until_finished(as_json(first)["id"]).state is JobState.SUCCEEDED
    nan = marked_ear(ear, folder, "nan", data=np.full((52, 56, 60), np.nan, np.float32))
    post(nan.read_bytes())
    post(image[: len(image) // 2])
    post(MARK.encode() * 50)
    post(b"\x1f\x8b" + MARK.encode() * 50)
    post(image, {**landmarks, "landmarks": {**landmarks["landmarks"], "RW": MARK}})
    post(image, MARK)
    post(image, side="left", note=MARK)
    # Options that do not exist are shown to who sent them, and to nobody else.
    for field in ("side", "formats", "bundle"):
        post(image, **{field: MARK})
        assert bodies.pop()
    post(image, **{MARK: "x"})
    assert MARK in bodies.pop(), "so are names of fields"
    post(image, {**landmarks, "landmarks": {MARK: [1, 2, 3]}})
    assert MARK in bodies.pop(), "and of landmarks"
    for address in (f"/v1/{MARK}", f"/v1/jobs/{MARK}", f"/v1/jobs/{first.json()['id']}/{MARK}", f"/{MARK}?a={MARK}"):
        bodies.append(http.get(address).text)
    bodies.append(http.get(f"/v1/jobs?limit={MARK}").text)
    bodies.append(http.request("PATCH", f"/v1/jobs/{MARK}").text)
    crash_and_fail(logged, post, image, bodies)
    return bodies


def crash_and_fail(service: Service, post: Callable[[bytes], dict[str, Any]], image: bytes, bodies: list[str]) -> None:
    """Submit a job whose worker is killed each time, and one whose folder is no longer one."""
    job = post(image)
    service.wait_for(job["id"], lambda record: record.state is JobState.RUNNING)
    os.kill(service.worker_ids()[1], signal.SIGKILL)
    assert service.wait_until_finished(job["id"]).state is JobState.FAILED
    bodies.append(service.http.get(job["links"]["self"]).text)
    worker, _ = service.worker_ids()
    os.kill(worker, signal.SIGSTOP)
    lost = post(image)
    folder = service.data_dir / "jobs" / lost["id"]
    folder.rename(service.data_dir / "moved")
    folder.write_text("no folder")
    os.kill(worker, signal.SIGCONT)
    assert service.wait_until_finished(lost["id"]).state is JobState.FAILED
    bodies.append(service.http.get(lost["links"]["self"]).text)


def lines_of(service: Service) -> list[dict[str, Any]]:
    """Give the log lines; all but the announcement must be JSON."""
    return [json.loads(line) for line in list(service.log) if "cochlear is ready at" not in line]


def test_no_marker_and_no_path_is_in_the_logs(logged: Service, errors: list[str]) -> None:
    assert errors
    lines = lines_of(logged)
    assert len(lines) > 30
    wrong = [line for line in lines if MARK in json.dumps(line) or str(logged.data_dir.parent) in json.dumps(line)]
    assert wrong == []


def test_no_marker_and_no_path_is_in_the_errors(logged: Service, errors: list[str]) -> None:
    assert len(errors) >= 15
    assert [body for body in errors if MARK in body] == []
    assert [body for body in errors if str(logged.data_dir.parent) in body] == []


def test_lines_name_time_level_logger_request_job_trace_and_worker(logged: Service, errors: list[str]) -> None:
    assert errors
    lines = lines_of(logged)
    assert all({"time", "level", "logger", "message", "process"} <= set(line) for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"]) for line in lines)
    attempt = next(line for line in lines if "attempt 1" in line["message"])
    worker = next(line for line in lines if line["logger"].startswith("celery"))["worker"]
    assert (attempt["request_id"], attempt["traceparent"], attempt["trace_id"], attempt["worker"]) == (
        "ward-7",
        TRACEPARENT,
        TRACE_ID,
        worker,
    )
    assert attempt["message"] == f"job {attempt['job_id']}: attempt 1"
    access = [line for line in lines if line["logger"] == "api.access" and line.get("request_id") == "ward-7"]
    assert [(line["method"], line["route"], line["status"]) for line in access] == [("POST", "/v1/jobs", 202)]
    assert access[0]["duration_s"] > 0
    routes = {line["route"] for line in lines if line["logger"] == "api.access"}
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "unmatched"} <= routes
    others = {line["request_id"] for line in lines if line["logger"] == "api.access"} - {"ward-7"}
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in others), "junk is not taken over"


def test_a_traceback_has_places_and_no_messages(logged: Service, errors: list[str]) -> None:
    assert errors
    failed = next(line for line in lines_of(logged) if "unforeseen error" in line["message"])
    assert failed["exception"][0].startswith("NotADirectoryError")
    assert any(re.fullmatch(r"worker/runner\.py:\d+ in _attempt", place) for place in failed["exception"])
    assert failed["job_id"] in failed["message"]


def test_the_job_says_which_request_submitted_it(logged: Service, errors: list[str]) -> None:
    assert errors
    jobs = as_json(logged.http.get("/v1/jobs"))["jobs"]
    assert (jobs[-1]["request_id"], jobs[-1]["traceparent"]) == ("ward-7", TRACEPARENT)
    assert all(job["traceparent"] is None for job in jobs[:-1]), "a malformed one is ignored"
    assert jobs[-1]["bundle"] == BUNDLE
