"""The running service against its own OpenAPI document: no server errors, answers as described."""

from __future__ import annotations

import subprocess
from pathlib import Path

from service_fixtures import Ear, Service

from benchmarks.attack.schema import command
from worker.jobs import JobState


def test_answers_are_as_the_document_says(service: Service, tmp_path: Path) -> None:
    operations = service.http.get("/openapi.json").json()["paths"].values()
    output = run(command(service.url, 2, 0, tmp_path), tmp_path)
    assert f"Tested: {sum(map(len, operations))}" in output, output[-1500:]
    assert service.http.get("/readyz").status_code == 200


def test_answers_about_a_job_that_is_done_are_as_the_document_says(service: Service, ear: Ear, tmp_path: Path) -> None:
    job_id = str(service.submit(ear)["id"])
    assert service.wait_until_finished(job_id).state is JobState.SUCCEEDED
    output = run(command(service.url, 2, 0, tmp_path, job_id=job_id), tmp_path)
    assert "Tested: 11" in output, output[-1500:]


def run(words: list[str], folder: Path) -> str:
    """Run a command, which must find nothing, and give what it prints."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout
