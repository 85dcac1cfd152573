"""`cochlear demo`: the whole service on an ear whose truth is known, and how far the result is from it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from api.client import CochlearClient, Job
from model.bundle import Bundle, find_bundle, load_bundle
from model.errors import RunError
from model.evaluation.overlap import dice
from model.evaluation.phantom import TYPICAL_SEED, read_surfaces, vertex_errors_mm, write_phantom
from model.masks.voxelize import voxelize_structures
from model.structures import STRUCTURES
from model.volumes.read import read_image
from worker.settings import Settings

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Score:
    """How far one structure is from the truth.

    Attributes:
        name: the structure, for people.
        dice_before, dice_after: overlap of rigid placement and of the result with the truth.
        error_before_mm, error_after_mm: median point-to-point distance of corresponding vertices.
    """

    name: str
    dice_before: float
    dice_after: float
    error_before_mm: float
    error_after_mm: float

    @property
    def better(self) -> bool:
        """Whether deformation helped by both measures."""
        return self.dice_after > self.dice_before and self.error_after_mm < self.error_before_mm


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the ear, the results and the service's data.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, max=999, help="Which ear; training used none of these.")] = TYPICAL_SEED,
) -> None:
    """Make an implanted ear with known truth, send it through the service, and compare the result with the truth."""
    settings = Settings()
    bundle = load_bundle(find_bundle(settings.bundle, settings.checkpoints))
    if out.exists():
        shutil.rmtree(out)
    ear, results = out / "ear", out / "results"
    typer.echo(f"making an implanted ear (seed {seed})")
    write_phantom(bundle, seed, ear)
    with running_service(out / "service") as url:
        typer.echo(f"service ready at {url}")
        with CochlearClient(url) as client:
            start = time.perf_counter()
            job = client.submit(ear / "ct.nii.gz", landmarks=ear / "landmarks.json")
            job = client.wait(str(job["id"]), timeout_s=600)
            elapsed = time.perf_counter() - start
            if job["state"] != "succeeded":
                raise RunError(f"the job ended {job['state']}", found=json.dumps(job.get("problem")))
            client.download(job, results)
            client.delete(str(job["id"]))
    shutil.copyfile(results / "preview.png", out / "preview.png")
    scores = score(bundle, ear, results)
    _print(scores, results, job, elapsed)
    if not all(part.better for part in scores):
        raise RunError("the result is not better than rigid placement for every structure")
    typer.echo(f"picture: {out / 'preview.png'}")


@contextmanager
def running_service(data_dir: Path) -> Iterator[str]:
    """Start `cochlear serve` as its own process, give its address, and stop it.

    Raises:
        RunError: it does not become ready, or does not stop cleanly.
    """
    data_dir.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "model.cli", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    url = f"http://127.0.0.1:{port}"
    with (data_dir / "service.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 (our own program)
    try:
        _wait_until_ready(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise RunError("the service did not stop") from error
    if code != 0:
        raise RunError("the service did not stop cleanly", expected="exit code 0", found=str(code))


def score(bundle: Bundle, ear: Path, results: Path) -> list[Score]:
    """Compare results, and the atlas placed by the landmarks only, with the truth of an ear."""
    image = read_image(ear / "ct.nii.gz")
    report = json.loads((results / "report.json").read_text(encoding="utf-8"))
    placed = np.linalg.inv(np.array(report["alignment"]["ras_to_canonical"]))
    truth = read_surfaces(ear / "truth")
    after = read_surfaces(results / "meshes")
    before = {name: mesh.transformed(placed, "ras") for name, mesh in bundle.atlas_meshes_ijk.items()}
    true_masks, masks_before = (voxelize_structures(m, image.affine, image.shape) for m in (truth, before))
    scores = []
    for structure in STRUCTURES:
        name = structure.id
        found = read_image(results / "masks" / f"{name}.nii.gz").data > 0.5
        scores.append(
            Score(
                structure.name,
                dice(masks_before[name], true_masks[name]),
                dice(found, true_masks[name]),
                float(np.median(vertex_errors_mm(before[name], truth[name]))),
                float(np.median(vertex_errors_mm(after[name], truth[name]))),
            )
        )
    return scores


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the service says it is ready."""
    import httpx

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunError("the service ended before it was ready", found=f"exit code {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # Not listening yet.
        time.sleep(0.25)
    raise RunError("the service did not become ready", expected=f"within {START_TIMEOUT_S:.0f} s")


def _print(scores: list[Score], results: Path, job: Job, elapsed_s: float) -> None:
    """Print the comparison and where the time went."""
    typer.echo(f"\n{'':18}  {'Dice':>14}  {'median point-to-point error':>28}")
    for part in scores:
        typer.echo(
            f"{part.name:18}  {part.dice_before:5.2f} -> {part.dice_after:5.2f}"
            f"  {part.error_before_mm:15.2f} -> {part.error_after_mm:4.2f} mm"
        )
    report = json.loads((results / "report.json").read_text(encoding="utf-8"))
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report["timings_s"].items())
    typer.echo(f"\nstages: {stages}")
    typer.echo(f"from POST to result: {elapsed_s:.1f} s; checks: {report['quality']['verdict']}")
    for warning in job["warnings"]:
        typer.echo(f"warning: {warning}")
