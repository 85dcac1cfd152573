"""A service takes over what the version before it left: records of fewer fields, in every state."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from redis import Redis
from service_fixtures import BUNDLE, Ear, Service, as_json

from worker.embedded_redis import EmbeddedRedis

RESULT = b'{"schema_version": "1.0"}'
BEGIN = "2026-01-05T09:30:00.000001Z"


def old_record(number: int, state: str, ear: Ear, **fields: object) -> dict[str, Any]:
    """Give a record as the version before API keys and batches wrote it: all of its fields and no others."""
    return {
        "id": f"{number:08x}-0000-4000-8000-000000000000",
        "sequence": number,
        "state": state,
        "stage": None,
        "progress": 0.0,
        "attempt": 0,
        "created_at": BEGIN,
        "updated_at": BEGIN,
        "started_at": None,
        "finished_at": None,
        "bundle": BUNDLE,
        "side": "left",
        "stated_side": None,
        "formats": ["vtk"],
        "landmarks": json.loads(ear.landmarks.read_text()),
        "input_name": "input.nii.gz",
        "warnings": [],
        "failure": None,
        "files": {},
        "lease": None,
        "cancel_requested": False,
        **fields,
    }


def leave_behind(data_dir: Path, ear: Ear, records: list[dict[str, Any]]) -> None:
    """Write a data folder with jobs as that version kept them, keys and files."""
    with EmbeddedRedis(data_dir) as server, Redis.from_url(server.url) as redis:
        for record in records:
            name, place = record["id"], {record["id"]: record["sequence"]}
            redis.set(f"cochlear:job:{name}", json.dumps(record))
            redis.zadd("cochlear:jobs", place)
            if record["state"] == "queued":
                redis.zadd("cochlear:queue", place)
            elif record["state"] == "running":
                redis.sadd("cochlear:running", name)
                redis.set(f"cochlear:beat:{name}", record["lease"], px=1)
            else:
                redis.zadd("cochlear:finished", {name: 1767605430.0})
            folder = data_dir / "jobs" / name
            folder.mkdir(parents=True)
            shutil.copyfile(ear.image, folder / "input.nii.gz")
            for result in record["files"]:
                (folder / "results").mkdir()
                (folder / "results" / result).write_bytes(RESULT)
        redis.set("cochlear:sequence", len(records))
        redis.zadd("cochlear:workers", {"gone:1": 1767605430.0})


def test_jobs_of_the_version_before_are_finished_and_served(tmp_path: Path, checkpoints: Path, ear: Ear) -> None:
    failure = {"code": "worker-lost", "title": "t", "detail": "d", "expected": None, "found": None, "hint": None}
    file = {"sha256": hashlib.sha256(RESULT).hexdigest(), "size": len(RESULT)}
    ended = {"attempt": 1, "started_at": BEGIN, "finished_at": BEGIN, "landmarks": None}
    records = [
        old_record(1, "succeeded", ear, progress=1.0, files={"report.json": file}, **ended),
        old_record(2, "failed", ear, failure={**failure, "field": None}, **ended),
        old_record(3, "canceled", ear, cancel_requested=True, **ended),
        old_record(4, "running", ear, attempt=1, stage="register", progress=0.4, started_at=BEGIN, lease="gone:1:abc"),
        old_record(5, "queued", ear),
    ]
    done, failed, canceled, running, queued = (record["id"] for record in records)
    leave_behind(tmp_path, ear, records)
    with Service(tmp_path, checkpoints, COCHLEAR_TIME_LIMIT_S="1e9", COCHLEAR_FORGET_AFTER_S="1e9") as service:
        result = service.http.get(f"/v1/jobs/{done}/report.json")
        assert (result.status_code, result.content) == (200, RESULT)
        assert as_json(service.http.get(f"/v1/jobs/{failed}"))["problem"]["type"] == "/problems/worker-lost"
        assert as_json(service.http.get(f"/v1/jobs/{canceled}"))["state"] == "canceled"
        for job_id, attempts in ((running, 2), (queued, 1)):
            job = as_json(service.http.get(f"/v1/jobs/{job_id}?wait=60"))
            assert (job["state"], job["attempt"]) == ("succeeded", attempts), job
            assert service.http.get(job["links"]["results"]["archive.zip"]).status_code == 200
        assert len(as_json(service.http.get("/v1/jobs"))["jobs"]) == len(records)
        assert "cochlear_jobs_running 0.0" in service.http.get("/metrics").text
        assert service.http.delete(f"/v1/jobs/{done}").status_code == 204
        assert service.http.get(f"/v1/jobs/{done}").status_code == 404
