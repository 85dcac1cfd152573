"""One running service and one ear for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from control_fixtures import SETTINGS
from service_fixtures import Ear, Service, make_ear, write_small_bundle


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small bundle."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Ear:
    """An ear that the small bundle takes."""
    return make_ear(tmp_path_factory.mktemp("ear"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Iterator[Service]:
    """A service whose caps are low enough to be met."""
    folder = tmp_path_factory.mktemp("data")
    with Service(folder, checkpoints, COCHLEAR_MAX_UPLOAD_BYTES="2000000") as service:
        yield service


@pytest.fixture(scope="session")
def controlled(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Iterator[Service]:
    """A service with webhooks, short retention and small batches."""
    with Service(tmp_path_factory.mktemp("controlled"), checkpoints, **SETTINGS) as service:
        yield service
