"""`cochlear submit` and the Python client against the real service."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from service_fixtures import COMMAND, Ear, Service

from api.client import CochlearClient, JobFailedError, RejectedError, UnreachableError
from model.errors import InputError


def run_submit(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*COMMAND, "submit", *arguments], capture_output=True, text=True, timeout=60, env=environment)


def test_the_command_brings_all_results(service: Service, ear: Ear, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_submit(
        str(ear.image), "--landmarks", str(ear.landmarks), "--out", str(out), "--url", service.url, "--formats", "ply"
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no progress bar when the output is no terminal"
    for entry in json.loads((out / "manifest.json").read_text())["files"]:
        assert hashlib.sha256((out / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]
    assert (out / "meshes" / "scala_tympani.ply").is_file()
    assert not list(out.rglob("*.part"))


def test_the_command_tells_bad_input_in_one_line(service: Service, ear: Ear, tmp_path: Path) -> None:
    for arguments in ([str(ear.image)], [str(tmp_path / "none.nii.gz")]):
        done = run_submit(*arguments, "--out", str(tmp_path / "out"), "--url", service.url)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_command_tells_that_there_is_no_service(ear: Ear, tmp_path: Path) -> None:
    done = run_submit(str(ear.image), "--out", str(tmp_path / "out"), "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not answer" in done.stderr


def test_the_client_follows_a_job(service: Service, ear: Ear, tmp_path: Path) -> None:
    seen = []
    with CochlearClient(service.url) as client:
        job = client.submit(ear.image, landmarks=ear.landmarks, side="left", formats=["stl"])
        done = client.wait(job["id"], lambda job: seen.append(job["progress"]), poll_s=0.02)
        names = {path.relative_to(tmp_path).as_posix() for path in client.download(done, tmp_path)}
        assert names == set(done["links"]["results"])
        assert seen == sorted(seen)
        assert seen[-1] == 1.0
        client.delete(job["id"])
        with pytest.raises(RejectedError):
            client.job(job["id"])


def test_the_client_raises_what_went_wrong(service: Service, ear: Ear, tmp_path: Path) -> None:
    with CochlearClient(service.url) as client:
        with pytest.raises(RejectedError, match="landmarks") as caught:
            client.submit(ear.image)
        assert caught.value.problem["status"] == 422
        assert caught.value.field == "image"
        with pytest.raises(InputError, match="cannot be read"):
            client.submit(tmp_path / "none")
        job = client.submit(ear.image, landmarks=ear.landmarks)
        client.delete(job["id"])
        with pytest.raises(JobFailedError, match="canceled"):
            client.wait(job["id"])
    with CochlearClient("http://127.0.0.1:9") as nowhere, pytest.raises(UnreachableError):
        nowhere.job("x")
