"""Helpers of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_path(relative: str) -> Path:
    """Give a file or folder of the reference data beside the checkout, or skip the test with the reason."""
    path = _SHARED / relative
    if not path.exists():
        pytest.skip(f"the reference data beside the checkout is not there: shared/{relative}")
    return path
