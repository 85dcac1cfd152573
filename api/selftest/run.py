"""The conversation with the service: send the phantom twice, fetch what comes back, check it, erase it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.client import FINAL_STATES, CochlearClient, Job, RejectedError, UnreachableError
from api.selftest.checks import Check, Results, check_files, check_grid, check_order, check_reference, check_truth
from model.bundle import Bundle
from model.evaluation.phantom import write_phantom, write_reordered

JOB_TIMEOUT_S = 1800.0
_ERASE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Report:
    """What a self-test found.

    Attributes:
        seed: which phantom.
        model: name, version and digest of the model that computed, as the results say.
        device: where it computed.
        seconds: from sending to the end, of the phantom as it is and in another axis order.
        checks: the figures with their limits.
        erased: whether the jobs of the test are gone from the service.
        at: when it ended.
    """

    seed: int
    model: dict[str, str]
    device: str | None
    seconds: tuple[float, ...]
    checks: list[Check]
    erased: bool
    at: datetime

    @property
    def passed(self) -> bool:
        """Whether every check passed and nothing was left behind."""
        return self.erased and all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return {
            "passed": self.passed,
            "at": self.at.isoformat(),
            "seed": self.seed,
            "model": self.model,
            "device": self.device,
            "seconds": [round(seconds, 3) for seconds in self.seconds],
            "erased": self.erased,
            "checks": [
                {
                    "name": check.name,
                    "passed": check.passed,
                    "found": round(check.found, 6) if check.found < float("inf") else None,
                    "limit": check.limit,
                    "limit_is": "upper" if check.at_most else "lower",
                    "unit": check.unit,
                }
                for check in self.checks
            ],
        }


def qualify(
    client: CochlearClient,
    bundle: Bundle,
    folder: Path,
    *,
    seed: int,
    tolerance_mm: float,
    model: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Test a running service with a phantom.

    Args:
        client: the service.
        bundle: its atlas becomes the phantom; the service's model must have the same one.
        folder: takes phantom and results.
        seed: which phantom.
        tolerance_mm: mean vertex error of a structure that is allowed.
        model: model to ask the service for; None for its default.
        tell: called with what is being done.

    Raises:
        InputError: the service refuses the phantom.
        JobFailedError: a job did not succeed.
        UnreachableError: the service cannot be used.
        RunError: the model of the service has another atlas.
    """
    ear = folder / "phantom"
    tell(f"making the phantom (seed {seed})")
    write_phantom(bundle, seed, ear)
    write_reordered(ear / "ct.nii.gz", ear / "reordered.nii.gz")
    runs = []
    sent: list[str] = []
    with _erasing(client, sent):
        for name, image in (("first", ear / "ct.nii.gz"), ("reordered", ear / "reordered.nii.gz")):
            tell(f"sending it ({name})")
            runs.append(_segment(client, image, ear / "landmarks.json", model, folder / name, sent))
    checks = [check for _, results, _ in runs for check in (check_files(results.folder), check_grid(results))]
    job, results, _ = runs[0]
    report = json.loads((results.folder / "report.json").read_text(encoding="utf-8"))
    # Files that are not what the service computed say nothing about it.
    if checks[0].passed and checks[2].passed:
        checks += check_truth(results, ear / "truth", tolerance_mm)
        checks += check_reference(results, ear / "truth", report["model"]["digest"], seed)
        checks += check_order(results, runs[1][1])
    truth = json.loads((ear / "ear.json").read_text(encoding="utf-8"))
    checks.append(Check("ears taken for the other side", float(job["side"] != truth["side"]), 0, "ears"))
    other = float(report["model"]["digest"] != job["bundle_digest"])
    checks.append(Check("models other than the job was accepted with", other, 0, "models"))
    return Report(
        seed=seed,
        model={name: str(report["model"][name]) for name in ("name", "version", "digest")},
        device=report["device"],
        seconds=tuple(seconds for _, _, seconds in runs),
        checks=checks,
        erased=not any(_is_there(client, job_id) for job_id in sent),
        at=datetime.now(UTC).replace(microsecond=0),
    )


def _segment(
    client: CochlearClient, image: Path, landmarks: Path, model: str | None, out: Path, sent: list[str]
) -> tuple[Job, Results, float]:
    """Have one image segmented; give the job, its results and the seconds it took."""
    begin = time.monotonic()
    job = client.submit(image, landmarks=landmarks, bundle=model, formats=["vtk"])
    sent.append(str(job["id"]))
    job = client.wait(str(job["id"]), timeout_s=JOB_TIMEOUT_S)
    seconds = time.monotonic() - begin
    client.download(job, out)
    return job, Results(out, image), seconds


@contextmanager
def _erasing(client: CochlearClient, sent: list[str]) -> Iterator[None]:
    """Erase the jobs that were sent, however the block ends."""
    try:
        yield
    finally:
        for job_id in sent:
            # What stays is told by the report; an error of the block must not be hidden by one of erasing.
            with suppress(RejectedError, UnreachableError):
                _erase(client, job_id)


def _erase(client: CochlearClient, job_id: str) -> None:
    """Erase a job, canceling it first where it is under way."""
    client.delete(job_id)
    deadline = time.monotonic() + _ERASE_TIMEOUT_S
    while _is_there(client, job_id) and time.monotonic() < deadline:
        if client.job(job_id, wait_s=10)["state"] in FINAL_STATES:
            client.delete(job_id)


def _is_there(client: CochlearClient, job_id: str) -> bool:
    """Tell whether the service still knows a job."""
    try:
        client.job(job_id)
    except RejectedError as error:
        if error.problem.get("status") == 404:
            return False
        raise
    return True
