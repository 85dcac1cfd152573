"""A backup taken under load is restored elsewhere: ended jobs with all their files, others done there, once."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest
import typer
from redis import Redis
from service_fixtures import Ear, Json, Service, as_json
from typer.testing import CliRunner

from worker.artifacts import ArtifactStore
from worker.backup.commands import backup, restore
from worker.backup.restore import BackupFileError, restore_backup
from worker.backup.snapshot import NotEmptyError, must_be_empty
from worker.backup.write import write_backup
from worker.embedded_redis import EmbeddedRedis, running_address
from worker.job_store import JobStore
from worker.jobs import JobRecord, JobState
from worker.settings import Settings

PATIENT = {"COCHLEAR_STALE_AFTER_S": "10", "COCHLEAR_DEAF_AFTER_S": "60"}
"""A worker on a busy machine is not taken for dead, so that attempts can be counted."""


def command(data_dir: Path, *arguments: str) -> str:
    """Run one of the two commands and give its output."""
    app = typer.Typer()
    app.command("backup")(backup)
    app.command("restore")(restore)
    ran = CliRunner().invoke(app, [*arguments, "--data-dir", str(data_dir)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return str(ran.output)


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder, redis_url=None, store_url=None, keys_file=None)


def states(service: Service, jobs: dict[str, Json]) -> dict[str, JobRecord]:
    found = {name: service.store.get(job["id"]) for name, job in jobs.items()}
    return {name: record for name, record in found.items() if record is not None}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path, ear: Ear) -> tuple[Path, dict[str, JobRecord]]:
    """A backup of a service at work, and the records before it."""
    folder = tmp_path_factory.mktemp("origin")
    file = folder / "backup.tar"
    with Service(folder / "data", checkpoints, **PATIENT) as service:
        done = [service.submit(ear) for _ in range(2)]
        canceled = service.submit(ear)
        assert service.http.delete(canceled["links"]["self"]).status_code in (202, 204)
        for job in done:
            service.wait_until_finished(job["id"])
        waiting = [service.submit(ear) for _ in range(3)]
        service.wait_for(waiting[0]["id"], lambda record: record.state is JobState.RUNNING)
        jobs = {"done": done[0], "other": done[1], "first": waiting[0], "last": waiting[2], "canceled": canceled}
        before = states(service, jobs)
        command(service.data_dir, "backup", "--to", str(file))
        assert service.http.get("/livez").status_code == 200
        later = service.submit(ear)
        before["later"] = service.wait_for(later["id"], lambda record: True)
        before["after"] = service.wait_until_finished(waiting[0]["id"])
    assert before["first"].state is JobState.RUNNING
    assert before["last"].state is JobState.QUEUED
    assert file.stat().st_mode & 0o777 == 0o600
    return file, before


def test_a_restored_service_has_what_had_ended_and_does_the_rest(
    tmp_path: Path, checkpoints: Path, taken: tuple[Path, dict[str, JobRecord]]
) -> None:
    file, before = taken
    data_dir = tmp_path / ("a-long-name-" * 9) / "data"
    assert "are restored" in command(data_dir, "restore", str(file))
    with Service(data_dir, checkpoints, **PATIENT) as service:
        address = running_address(data_dir)
        assert address is not None
        assert not address.endswith(str(data_dir / "redis" / "redis.sock")), "the path is too long for a socket"
        listed = as_json(service.http.get("/v1/jobs?limit=100"))["jobs"]
        ids = {job["id"] for job in listed}
        assert before["later"].id not in ids, "it came after the backup"
        assert {before[name].id for name in ("done", "other", "first", "last", "canceled")} <= ids
        for job in listed:
            wanted = "canceled" if job["id"] == before["canceled"].id else "succeeded"
            ended = as_json(service.http.get(f"{job['links']['self']}?wait=60"))
            assert ended["state"] == wanted, ended
            assert ended["attempt"] == (1 if wanted == "succeeded" else before["canceled"].attempt)
            for name, link in ended["links"]["results"].items():
                response = service.http.get(link)
                assert response.status_code == 200, name
                assert response.headers["etag"].strip('"') == hashlib.sha256(response.content).hexdigest()
        metrics = service.http.get("/metrics").text
        assert f"cochlear_jobs_accepted_total {float(len(ids))}" in metrics
        assert 'cochlear_jobs_ended_total{state="succeeded"} ' + f"{len(ids) - 1:.1f}" in metrics
        again = as_json(service.http.get(f"/v1/jobs/{before['done'].id}"))
        assert again["finished_at"] == before["done"].model_dump(mode="json")["finished_at"], "it was not done again"


def test_a_backup_goes_into_an_empty_place_only_and_a_damaged_one_nowhere(
    tmp_path: Path, taken: tuple[Path, dict[str, JobRecord]]
) -> None:
    file, before = taken
    folder = tmp_path / "data"
    cut, bad = tmp_path / "cut.tar", tmp_path / "bad.tar"
    content = bytearray(file.read_bytes())
    cut.write_bytes(content[: len(content) // 2])
    with tarfile.open(file) as tar:
        place = tar.getmember(f"jobs/{before['done'].id}/results/report.json").offset_data
    content[place] ^= 1
    bad.write_bytes(content)
    with EmbeddedRedis(folder) as redis:
        for broken in (cut, bad, Path(__file__)):
            with pytest.raises(BackupFileError):
                restore_backup(settings_of(folder), redis.url, broken)
            must_be_empty(redis.url)
        with Redis.from_url(redis.url) as client:
            client.set("cochlear:job:x", "1")
        with pytest.raises(NotEmptyError):
            restore_backup(settings_of(folder), redis.url, file)


def test_jobs_whose_files_are_gone_are_not_promised(tmp_path: Path, taken: tuple[Path, dict[str, JobRecord]]) -> None:
    file, before = taken
    first, second = tmp_path / "first", tmp_path / "second"
    with EmbeddedRedis(first) as redis:
        restore_backup(settings_of(first), redis.url, file)
        # Somebody damaged one result and removed the other.
        report = first / "jobs" / before["done"].id / "results" / "report.json"
        report.write_bytes(report.read_bytes() + b" ")
        (first / "jobs" / before["other"].id / "results" / "report.json").unlink()
        made = write_backup(settings_of(first), redis.url, tmp_path / "again.tar")
    assert sorted(made.damaged) == sorted([before["done"].id, before["other"].id])
    with EmbeddedRedis(second) as redis:
        restore_backup(settings_of(second), redis.url, tmp_path / "again.tar")
        with Redis.from_url(redis.url) as client:
            for name in ("done", "other"):
                raw = client.get(f"cochlear:job:{before[name].id}")
                record = JobRecord.model_validate_json(raw)
                assert (record.state, record.files) == (JobState.EXPIRED, {})
                assert not (second / "jobs" / record.id).exists()


def test_what_is_erased_while_the_backup_is_written_is_not_in_it(
    tmp_path: Path, taken: tuple[Path, dict[str, JobRecord]]
) -> None:
    file, before = taken
    first, second = tmp_path / "first", tmp_path / "second"
    erased = before["other"].id
    with EmbeddedRedis(first) as redis:
        restore_backup(settings_of(first), redis.url, file)
        store = JobStore(redis.url)

        def erase(_: str, share: float) -> None:
            if share == 0.0:
                assert store.remove(erased)
                ArtifactStore(settings_of(first).artifacts_url).erase(erased)

        made = write_backup(settings_of(first), redis.url, tmp_path / "again.tar", erase)
        store.close()
    assert (made.erased, made.damaged) == ([erased], [])
    assert not [name for name in made.files if erased in name]
    with EmbeddedRedis(second) as redis:
        restore_backup(settings_of(second), redis.url, tmp_path / "again.tar")
        with Redis.from_url(redis.url, decode_responses=True) as client:
            assert client.get(f"cochlear:job:{before['done'].id}") is not None
            assert list(client.scan_iter(f"*{erased}*")) == []
            assert client.zscore("cochlear:jobs", erased) is None
