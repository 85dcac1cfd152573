"""The artifact store, on a local folder and on another file system of fsspec."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from benchmarks.s3_server import S3Server, s3_server, why_not
from worker.artifacts import ArtifactStore


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "local":
        return ArtifactStore(str(tmp_path / "jobs"))
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return ArtifactStore(f"s3://{server.bucket}/{secrets.token_hex(4)}")
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]
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


def test_of_several_publishers_one_wins_and_its_files_are_not_mixed(store: ArtifactStore, tmp_path: Path) -> None:
    if isinstance(store._fs, MemoryFileSystem):
        pytest.skip("its create mode looks and then writes: it is for one process and one thread")
    for round_ in range(5):
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
        # What those that came second had uploaded is gone.
        assert len(store._fs.find(store._path(job_id))) == (3 if store._local else 4)


def test_pieces_of_a_published_file_are_read_by_range(store: ArtifactStore, tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 17)
    put(store, tmp_path)
    with store.staging("job") as folder:
        folder.mkdir()
        (folder / "mask.nii.gz").write_bytes(content)
        store.publish("job", folder)
    for begin, end in ((0, None), (0, 1), (2**20 - 1, 2**20 + 1), (5, len(content) - 5), (len(content) - 1, None)):
        assert b"".join(store.open_result("job", "mask.nii.gz", begin, end)) == content[begin:end]
    with pytest.raises(FileNotFoundError):
        list(store.open_result("job", "other.nii.gz"))


def test_a_store_that_is_asked_whether_it_lets_publish_once_keeps_nothing_of_it(store: ArtifactStore) -> None:
    store.check()
    assert store.orphans(-60.0, lambda _: False) == []


def test_what_a_publisher_that_died_uploaded_never_shows_and_is_tidied(store: ArtifactStore, tmp_path: Path) -> None:
    if store._local:
        pytest.skip("a local store publishes by one rename")
    put(store, tmp_path)
    fill(tmp_path / "cut-off", "x")
    store._fs.put(f"{tmp_path}/cut-off/", store._path("job", "results-0123456789abcdef") + "/", recursive=True)
    assert not store.is_published("job")
    assert store.describe_results("job") == {}
    with store.staging("job") as folder:
        fill(folder, "a")
        assert store.publish("job", folder)
    store.tidy("job")
    assert store.read_result("job", "report.json") == b"a"
    assert len(store._fs.find(store._path("job"))) == 4
    store.erase("job")
    assert store._fs.find(store._path("job")) == []


def test_a_publisher_whose_answer_was_lost_and_who_asks_again_has_won(store: ArtifactStore, tmp_path: Path) -> None:
    if store._local or isinstance(store._fs, MemoryFileSystem):
        pytest.skip("only requests over a network are repeated")
    put(store, tmp_path)
    real = store._fs.pipe_file

    def twice(path: str, data: bytes, mode: str) -> None:
        real(path, data, mode=mode)
        real(path, data, mode=mode)

    store._fs.pipe_file = twice
    try:
        with store.staging("job") as folder:
            fill(folder, "a")
            assert store.publish("job", folder)
    finally:
        del store._fs.pipe_file
    assert store.read_result("job", "report.json") == b"a"


def test_stored_jobs_that_nobody_wants_are_found_once_they_are_old(store: ArtifactStore, tmp_path: Path) -> None:
    assert store.orphans(10, lambda _: False) == []
    put(store, tmp_path, "wanted")
    put(store, tmp_path, "unwanted")
    assert store.orphans(3600, lambda _: False) == []
    assert store.orphans(-60, lambda name: name == "wanted") == ["unwanted"]


def test_folders_that_have_long_not_changed_are_found(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "jobs"))
    assert store.orphans(10, lambda _: False) == []
    put(store, tmp_path, "old")
    put(store, tmp_path, "new")
    os.utime(tmp_path / "jobs" / "old", (0, 0))
    assert store.orphans(10, lambda _: False) == ["old"]
