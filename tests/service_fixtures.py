"""A real service for the tests: real Redis, worker and HTTP, with a small real bundle and a small made-up ear."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import nibabel
import numpy as np
import torch
import trimesh

from model.bundle import BundleDescription, write_bundle
from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.networks.published import PublishedRegistrationNet
from model.structures import STRUCTURE_IDS
from worker.job_store import JobStore
from worker.jobs import JobRecord

BUNDLE = "small"
STALE_S = 3.0
COMMAND = [str(Path(sys.executable).with_name("cochlear"))]
"""The command that is installed beside the interpreter of the tests."""

Json = dict[str, Any]

_FRAME_RAS = np.diag([-1.0, -1.0, 1.0])
_ORIGIN_RAS = np.array([31.0, -42.0, 17.0])
_LANDMARKS_MM = {
    "RW": (13.56, 11.49, 8.5),
    "C": (8.94, 8.39, 10.32),
    "A": (10.41, 5.94, 9.92),
    "OW": (13.79, 10.98, 11.35),
    "V": (13.08, 12.45, 11.98),
}
"""Positions in a canonical crop of 25.6 mm, from its corner along L, P and S."""


@dataclass(frozen=True)
class Ear:
    """A raw CT of a left ear and its landmarks, as files."""

    image: Path
    landmarks: Path

    def form(self) -> dict[str, Any]:
        """Give the arguments of a request that submits it."""
        return {"files": {"image": self.image.read_bytes()}, "data": {"landmarks": self.landmarks.read_text()}}


def make_ear(folder: Path, seed: int = 0) -> Ear:
    """Write an ear: smooth noise in Hounsfield units on a grid of unequal sides and spacings.

    The landmarks lie at the canonical places of a left ear, by the meaning of L, P, S, so alignment is near identity.
    """
    rng = np.random.default_rng(seed)
    shape, spacing = (52, 56, 60), np.array([0.5, 0.46, 0.43])
    waves = [np.sin(np.linspace(0, rng.uniform(4, 9), size) + rng.uniform(0, 6)) for size in shape]
    data = 600.0 * np.einsum("i,j,k->ijk", *waves) + rng.normal(0.0, 30.0, shape)
    affine = np.eye(4)
    affine[:3, :3] = _FRAME_RAS * spacing
    affine[:3, 3] = _ORIGIN_RAS
    image, landmarks = folder / "ear.nii.gz", folder / "landmarks.json"
    picture = nibabel.Nifti1Image(data.astype(np.int16), affine)
    picture.to_filename(image)
    points = {name: (_ORIGIN_RAS + _FRAME_RAS @ np.array(place)).tolist() for name, place in _LANDMARKS_MM.items()}
    landmarks.write_text(json.dumps({"side": "left", "space": "RAS", "unit": "mm", "landmarks": points}))
    return Ear(image, landmarks)


def write_small_bundle(checkpoints: Path, name: str = BUNDLE, *, width: int = 2, fineness: int = 1) -> None:
    """Write a bundle with a real network too small to be good: 32^3 voxels, spheres for structures, fresh weights.

    The last layer is scaled down, so that the field is smooth and small and the surfaces stay whole.

    Args:
        checkpoints: folder of bundles.
        name: its name.
        width: channels of the first level; many make it slow.
        fineness: voxels along a side in the place of one.
    """
    torch.manual_seed(0)
    network = PublishedRegistrationNet(base_width=width, levels=2)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    for key in ("field.weight", "field.bias"):
        state[key] = state[key] * np.float32(0.01)
    description = BundleDescription.model_validate(
        {
            "name": name,
            "version": "0.1.0",
            "licence": "Apache-2.0",
            "intended_use": "Tests only.",
            "network": {"class": "published_registration", "parameters": {"base_width": width, "levels": 2}},
            "frame": small_frame(fineness).to_json(),
            "intensity": {"rule": "hu_window", "low": -1000, "high": 2600},
            "training": {"data": "none"},
        }
    )
    image = np.random.default_rng(0).uniform(-1.0, 1.0, (32 * fineness,) * 3).astype(np.float32)
    meshes = _spheres(fineness)
    write_bundle(checkpoints / name, description, weights=state, atlas_meshes_ijk=meshes, atlas_input=image)


def small_frame(fineness: int = 1) -> CanonicalFrame:
    """Give a canonical crop of 32^3 voxels, or a multiple along each side, in which the ear of `make_ear` lies."""
    spacing, side = 0.8 / fineness, 32 * fineness
    landmarks = {key: (i / spacing, j / spacing, k / spacing) for key, (i, j, k) in _LANDMARKS_MM.items()}
    return CanonicalFrame((side, side, side), spacing, "LPS", "left", landmarks)


def _spheres(fineness: int) -> dict[str, SurfaceMesh]:
    """Give one sphere per structure, the labyrinth around the others, in voxels of that fineness."""
    centres = {"modiolus": (12, 16, 16), "scala_tympani": (20, 16, 16), "scala_vestibuli": (16, 21, 16)}
    sphere = trimesh.creation.icosphere(2, 1.0)
    spheres = {}
    for structure_id in STRUCTURE_IDS:
        radius = 2.5 if structure_id in centres else 10.0
        vertices = np.asarray(sphere.vertices) * radius + centres.get(structure_id, (16, 16, 16))
        spheres[structure_id] = SurfaceMesh(vertices * fineness, np.asarray(sphere.faces, dtype=np.int32), "ijk")
    return spheres


class Service:
    """`cochlear serve` in a process of its own, running while used as a context manager.

    Args:
        data_dir: its data folder; another service may have used it before.
        checkpoints: folder of bundles.
        environment: further settings.
    """

    def __init__(self, data_dir: Path, checkpoints: Path, **environment: str) -> None:
        """Settle the environment; the service starts on entering."""
        self.data_dir = data_dir
        self.url = ""
        self._lines: queue.Queue[str] = queue.Queue()
        self.log: list[str] = []
        self._environment = {
            **os.environ,
            "COCHLEAR_BUNDLE": BUNDLE,
            "COCHLEAR_CHECKPOINTS": str(checkpoints),
            "COCHLEAR_DEVICE": "cpu",
            "COCHLEAR_STALE_AFTER_S": str(STALE_S),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self._environment.pop("COCHLEAR_REDIS_URL", None)

    def __enter__(self) -> Self:
        """Start it and wait until it says that it is ready."""
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--data-dir", str(self.data_dir)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        deadline = time.monotonic() + 60
        while not self.url:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError("the service does not get ready:\n" + "".join(self.log)) from None
            if not line:
                raise AssertionError("the service ended:\n" + "".join(self.log))
            if "ready at " in line:
                self.url = line.split("ready at ")[1].split()[0]
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self.store = JobStore(f"unix://{self.data_dir / 'redis' / 'redis.sock'}", STALE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        if kind is not None:
            sys.stderr.write("".join(self.log[-60:]))
        self.http.close()
        self.store.close()
        self.stop()

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop it with a signal and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the service does not stop:\n" + "".join(self.log)) from None

    def kill(self) -> None:
        """Kill the process that was started, and nothing else."""
        self.process.kill()
        self.process.wait()

    def submit(self, ear: Ear, **fields: str) -> Json:
        """Submit an ear, which must be accepted, and give the job."""
        form = ear.form()
        form["data"].update(fields)
        response = self.http.post("/v1/jobs", **form)
        assert response.status_code == 202, response.text
        return as_json(response)

    def wait_for(self, job_id: str, reached: Callable[[JobRecord], bool], timeout_s: float = 40.0) -> JobRecord:
        """Wait until a record meets a condition."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            record = self.store.get(job_id)
            assert record is not None, "the job is gone"
            if reached(record):
                return record
            time.sleep(0.02)
        raise AssertionError(f"waited in vain: {record}\n" + "".join(self.log[-60:]))

    def wait_until_finished(self, job_id: str) -> JobRecord:
        """Wait until a job has ended."""
        return self.wait_for(job_id, lambda record: record.state.finished)

    def worker_ids(self) -> tuple[int, int]:
        """Give the process ids of the worker and of its pool child."""
        worker = next(child for child in children_of(self.process.pid) if "worker" in _command_of(child))
        return worker, children_of(worker)[0]

    def stored_ids(self) -> set[str]:
        """Give the ids of all jobs that have a record or files, and of uploads that were left."""
        folders = (self.data_dir / "jobs", self.data_dir / "uploads")
        files = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return files | {record.id for record in self.store.page(1000)}

    def _read(self) -> None:
        """Collect what it prints."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put("")


def as_json(response: httpx.Response) -> Json:
    """Give the JSON object of a response."""
    body = response.json()
    assert isinstance(body, dict)
    return body


def children_of(process_id: int) -> list[int]:
    """Give the process ids of the children of a process, all its threads' (Linux)."""
    found = []
    for task in Path(f"/proc/{process_id}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def is_alive(process_id: int) -> bool:
    """Whether a process runs; a zombie that nobody has collected yet does not."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def _command_of(process_id: int) -> str:
    """Give the command line of a process."""
    return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
