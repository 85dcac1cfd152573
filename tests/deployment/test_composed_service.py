"""The deployment itself: images built, composed, given real ears, broken; run by `make deployment-test`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
from composed_service import Composed, run, started_at, wait_for, why_not
from numpy.typing import NDArray

from api.client import Job

EAR = Path(__file__).resolve().parents[3] / "shared" / "ears" / "T06"
REASON = why_not() or (None if EAR.is_dir() else "the labelled ears are not there")

pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

ACCEPTED: list[str] = []
"""Every job that the service accepted, in whichever test."""


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with Composed(tmp_path_factory.mktemp("composed")) as running:
        yield running


def submit(composed: Composed) -> str:
    """Submit a real ear and give the id of its job."""
    job_id = str(composed.client.submit(EAR / "ct.nii.gz", landmarks=EAR / "landmarks.json")["id"])
    ACCEPTED.append(job_id)
    return job_id


def submit_and_see_run(composed: Composed) -> str:
    job_id = submit(composed)
    composed.wait_for_job(job_id, lambda job: job["state"] == "running" and job["progress"] >= 0.1)
    return job_id


def wait_until_succeeded(composed: Composed, job_id: str) -> Job:
    job = composed.wait_for_job(job_id, lambda job: job["state"] in {"succeeded", "failed", "canceled", "expired"})
    assert job["state"] == "succeeded", job
    return job


def mask_of(path: Path) -> NDArray[np.bool_]:
    """Read a mask."""
    image = nibabel.Nifti1Image.from_filename(path)
    return np.asarray(image.dataobj) > 0


def labyrinth_dice(composed: Composed, job: Job, folder: Path) -> float:
    """Download all results, which checks their digests, and score one of them."""
    files = composed.client.download(job, folder)
    assert len(files) >= 15
    found, truth = (mask_of(path) for path in (folder / "masks" / "labyrinth.nii.gz", EAR / "labyrinth.nii.gz"))
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_a_real_ear_comes_back_segmented(composed: Composed, tmp_path: Path) -> None:
    job = wait_until_succeeded(composed, submit(composed))
    assert labyrinth_dice(composed, job, tmp_path / "result") > 0.9
    assert job["attempt"] == 1


@pytest.mark.parametrize("service", ["redis", "api", "worker"])
def test_containers_can_change_nothing_but_their_data(composed: Composed, service: str) -> None:
    (container,) = composed.containers(service)
    assert composed.inside(container, "id", "-u").stdout.strip() not in {"", "0"}
    for place in ("/", "/usr/bin", "/etc"):
        done = composed.inside(container, "touch", f"{place}/changed")
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr
    for place in ("/tmp", "/data"):  # noqa: S108
        assert composed.inside(container, "touch", f"{place}/changed").returncode == 0
        assert composed.inside(container, "rm", f"{place}/changed").returncode == 0
    status = composed.inside(container, "cat", "/proc/self/status").stdout
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert lines["NoNewPrivs"] == "1"


def test_the_api_cannot_change_its_keys(composed: Composed) -> None:
    (container,) = composed.containers("api")
    assert "Read-only file system" in composed.inside(container, "touch", "/keys/keys.json").stderr


def test_secrets_are_in_no_description_of_a_container(composed: Composed) -> None:
    secrets = [path.read_text().strip() for path in (composed.folder / "secrets").glob("*_*")]
    for service in ("redis", "api", "worker"):
        (container,) = composed.containers(service)
        shown = run(["docker", "inspect", container], {}).stdout + run(["docker", "top", container], {}).stdout
        assert [secret for secret in secrets if secret in shown] == []


REACH_OUT = """
import errno, socket
for address in ("198.51.100.1", "203.0.113.1"):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((address, 9))
    except OSError as error:
        assert error.errno == errno.ENETUNREACH, error
    else:
        raise AssertionError("there is a route")
print("nowhere to go")
"""
"""Asks the kernel for a route to addresses that RFC 5737 sets aside for documentation; connecting UDP sends nothing."""


def test_nothing_leads_out_of_the_worker(composed: Composed) -> None:
    (worker,) = composed.containers("worker")
    (redis,) = composed.containers("redis")
    done = composed.inside(worker, "python", "-c", REACH_OUT)
    assert done.stdout == "nowhere to go\n", done.stderr
    for container in (worker, redis):
        rows = composed.inside(container, "cat", "/proc/net/route").stdout.splitlines()[1:]
        assert rows
        assert all(row.split()[1] != "00000000" for row in rows), "a default route"
        ports = json.loads(
            run(["docker", "inspect", container, "--format", "{{json .NetworkSettings.Ports}}"], {}).stdout
        )
        assert not any((ports or {}).values()), "published"


def test_the_api_asks_for_a_key(composed: Composed) -> None:
    assert (
        run(["docker", "exec", composed.containers("api")[0], "cochlear", "keys", "list"], {}).stdout.count("\n") == 1
    )
    assert httpx.get(f"{composed.url}/v1/jobs").status_code == 401


def test_a_stopped_worker_hands_its_job_back(composed: Composed) -> None:
    job_id = submit_and_see_run(composed)
    composed.compose("stop", "worker")
    handed_back = composed.job(job_id)
    assert (handed_back["state"], handed_back["attempt"]) == ("queued", 0)
    composed.up()
    assert wait_until_succeeded(composed, job_id)["attempt"] == 1


def test_a_crashed_worker_of_two_costs_an_attempt_and_no_job(composed: Composed) -> None:
    composed.up("--scale", "worker=2")
    assert len(composed.containers("worker")) == 2
    jobs = [submit(composed) for _ in range(2)]
    holders: dict[str, str] = {}

    def both_run() -> bool:
        holders.update({job_id: holder for job_id in jobs if (holder := composed.holder(job_id)) is not None})
        return len(holders) == 2

    wait_for(both_run, 120, "the jobs do not run side by side")
    assert len(set(holders.values())) == 2, "one worker each"
    composed.crash(holders[jobs[0]])
    assert wait_until_succeeded(composed, jobs[0])["attempt"] == 2
    assert wait_until_succeeded(composed, jobs[1])["attempt"] == 1
    composed.up("--scale", "worker=1")


def test_a_crashed_api_disturbs_no_job(composed: Composed) -> None:
    job_id = submit_and_see_run(composed)
    composed.crash(composed.containers("api")[0])
    assert wait_until_succeeded(composed, job_id)["attempt"] == 1


def test_a_crashed_redis_forgets_nothing(composed: Composed) -> None:
    waiting = [submit_and_see_run(composed), submit(composed)]
    composed.crash(composed.containers("redis")[0])
    for job_id in waiting:
        wait_until_succeeded(composed, job_id)


def test_restarting_everything_loses_nothing(composed: Composed) -> None:
    jobs = [submit_and_see_run(composed), submit(composed)]
    composed.compose("restart")
    composed.wait_until_ready()
    for job_id in jobs:
        wait_until_succeeded(composed, job_id)


def test_down_and_up_again_loses_nothing(composed: Composed, tmp_path: Path) -> None:
    jobs = [submit_and_see_run(composed), submit(composed)]
    composed.down()
    assert composed.containers("api") == []
    composed.up()
    for job_id in jobs:
        wait_until_succeeded(composed, job_id)


def test_every_accepted_job_has_ended_once_with_all_its_results(
    composed: Composed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ACCEPTED
    attempts = []
    scores = []
    for job_id in ACCEPTED:
        job = composed.job(job_id)
        assert job["state"] == "succeeded"
        attempts.append(int(job["attempt"]))
        scores.append(labyrinth_dice(composed, job, tmp_path / job_id))
    assert max(scores) - min(scores) < 1e-3, "interrupted or not, an ear comes back the same"
    for service in ("api", "redis", "worker"):
        assert all(started_at(container)[0] for container in composed.containers(service))
    with capsys.disabled():
        print(f"\n{len(ACCEPTED)} jobs accepted, {len(scores)} succeeded, attempts {attempts}, Dice {min(scores):.3f}")
        for name, seconds in composed.seconds.items():
            print(f"{name}: {seconds:.0f} s")
