"""The header `traceparent`, by the examples and rules of W3C Trace Context."""

from __future__ import annotations

import pytest

from api.trace_context import valid_traceparent

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.mark.parametrize("text", [f"00-{IDS}-01", f"00-{IDS}-00", f" 00-{IDS}-ff "])
def test_what_is_well_formed_is_kept(text: str) -> None:
    assert valid_traceparent(text) == text.strip()


def test_a_later_version_is_read_by_the_fields_known() -> None:
    assert valid_traceparent(f"cc-{IDS}-01-what-the-future-will-be-like") == f"00-{IDS}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{IDS}-01",
        f"00-{IDS}-01-more",
        f"00-{IDS.upper()}-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"00-{IDS}-1",
        f"cc-{IDS}-01.more",
        f"00-{IDS}-01\nset-cookie: a=b",
    ],
)
def test_what_is_malformed_is_ignored(text: str) -> None:
    assert valid_traceparent(text) is None
