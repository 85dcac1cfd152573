"""The shipped bundle and synthetic ears of its atlas, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from ear_fixtures import BUNDLE, copy_with_quick_refinement, write_ears

from model.bundle import Bundle, find_bundle, load_bundle
from model.geometry.landmarks import Side


@pytest.fixture(scope="session")
def shipped_bundle() -> Bundle:
    return load_bundle(find_bundle(BUNDLE))


@pytest.fixture(scope="session")
def quick_bundle_path(shipped_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped bundle with a short refinement."""
    return copy_with_quick_refinement(shipped_bundle.path, tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def synthetic_ears(shipped_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[Side, Path]:
    """One folder per side, as `write_ear` makes them."""
    return write_ears(shipped_bundle, tmp_path_factory.mktemp("ears"))
