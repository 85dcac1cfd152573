"""The artifact store, on a local folder and on another file system of fsspec."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import fsspec
import pytest

from worker.artifacts import ArtifactStore


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "local":
        return ArtifactStore(str(tmp_path / "jobs"))
    fsspec.filesystem("memory").store.clear()
    return ArtifactStore("memory://bucket/jobs")


def put(store: ArtifactStore, folder: Path, job_id: str = "job") -> None:
    image = folder / "upload.part"
    image.write_bytes(b"image")
    store.put_input(job_id, "input.nii.gz", image)
    assert not image.exists()


def fill(folder: Path, mark: str) -> None:
    (folder / "meshes").mkdir(parents=True)
    (folder / "report.json").write_text(mark)
    (folder / "meshes" / "labyrinth.vtk").write_text(mark * 3)


def test_the_image_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    with store.local_file("job", "input.nii.gz") as path:
        assert path.read_bytes() == b"image"


def test_results_are_published_once(store: ArtifactStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    assert not store.is_published("job")
    for mark, expected in (("a", True), ("b", False)):
        with store.staging("job") as folder:
            fill(folder, mark)
            assert store.is_published("job") is (mark == "b"), "nothing shows before it is published"
            assert store.publish("job", folder) is expected
    assert store.read_result("job", "report.json") == b"a"
    described = store.describe_results("job")
    assert {name: info.size for name, info in described.items()} == {"meshes/labyrinth.vtk": 3, "report.json": 1}
    assert described["meshes/labyrinth.vtk"].sha256 == hashlib.sha256(b"aaa").hexdigest()


def test_erasing_leaves_nothing_and_may_be_repeated(store: ArtifactStore, tmp_path: Path) -> None:
    put(store, tmp_path)
    with store.staging("job") as folder:
        fill(folder, "a")
        store.publish("job", folder)
    store.erase("job")
    store.erase("job")
    assert not store.is_published("job")
    assert store.describe_results("job") == {}
    with pytest.raises(FileNotFoundError):
        store.read_result("job", "report.json")


def test_an_attempt_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "jobs"))
    put(store, tmp_path)

    def fail() -> None:
        with store.staging("job") as folder:
            fill(folder, "a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in (tmp_path / "jobs" / "job").iterdir()] == ["input.nii.gz"]


def test_what_a_killed_attempt_left_is_tidied(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "jobs"))
    put(store, tmp_path)
    fill(tmp_path / "jobs" / "job" / ".attempt-killed" / "results", "a")
    store.tidy("job")
    assert [path.name for path in (tmp_path / "jobs" / "job").iterdir()] == ["input.nii.gz"]


def test_of_publishers_at_the_same_time_one_wins_and_its_files_are_not_mixed(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "jobs"))
    for round_ in range(10):
        job_id = f"job{round_}"
        put(store, tmp_path, job_id)
        barrier = threading.Barrier(4)
        won: list[str] = []

        def publish(
            mark: str, job_id: str = job_id, barrier: threading.Barrier = barrier, won: list[str] = won
        ) -> None:
            with store.staging(job_id) as folder:
                fill(folder, mark)
                barrier.wait()
                if store.publish(job_id, folder):
                    won.append(mark)

        threads = [threading.Thread(target=publish, args=(mark,)) for mark in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.read_result(job_id, "report.json").decode() == won[0]
        assert store.read_result(job_id, "meshes/labyrinth.vtk").decode() == won[0] * 3


def test_folders_that_have_long_not_changed_are_found(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "jobs"))
    assert store.orphans(10) == []
    put(store, tmp_path, "old")
    put(store, tmp_path, "new")
    os.utime(tmp_path / "jobs" / "old", (0, 0))
    assert store.orphans(10) == ["old"]
