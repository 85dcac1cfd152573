"""The `Prefer` header as RFC 7240 writes it, and the keys of submissions."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api.idempotency import key_of
from api.prefer import Preferences, parse_prefer
from api.problems import ServiceError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preferences()),
        (["respond-async"], Preferences(respond_async=True)),
        (["respond-async, wait=10"], Preferences(respond_async=True, wait_s=10)),
        (["wait=10", "Respond-Async"], Preferences(respond_async=True, wait_s=10)),
        (["WAIT = 5 ; foo"], Preferences(wait_s=5)),
        (['wait="7"'], Preferences(wait_s=7)),
        (["wait=10, wait=20"], Preferences(wait_s=10)),
        (["wait=99999999999999999999"], Preferences(wait_s=60)),
        (["wait=0"], Preferences(wait_s=0)),
        (["wait=-1, wait=3"], Preferences()),
        (["wait=1.5"], Preferences()),
        (["wait"], Preferences()),
        (['foo; a="x, wait=9, respond-async"; b, wait=2'], Preferences(wait_s=2)),
        (['foo="bar, wait=3'], Preferences(wait_s=3)),
        (["@@, respond-async,,"], Preferences(respond_async=True)),
    ],
)
def test_preferences_are_a_list(values: list[str], expected: Preferences) -> None:
    assert parse_prefer(values) == expected


def test_what_was_applied_is_told() -> None:
    both = Preferences(respond_async=True, wait_s=9)
    assert both.applied(at_once=True) == "respond-async, wait=9"
    assert both.applied(at_once=False) == "wait=9"
    assert Preferences().applied(at_once=True) is None


def request_with(*values: bytes) -> Request:
    return Request({"type": "http", "headers": [(b"idempotency-key", value) for value in values]})


def test_a_key_is_the_same_with_and_without_quotes() -> None:
    assert key_of(request_with()) is None
    assert key_of(request_with(b"a-1")) == key_of(request_with(b'"a-1"')) == "a-1"
    assert key_of(request_with(rb'"a\"\\b, c"')) == r"a\"\b, c".replace("\\", "", 1)


@pytest.mark.parametrize("value", [b"", b'""', b'"a', b"a b", b"a,b", b"x" * 256, b'"\xc3\xa4"', b'"a\\b"', b'"a\tb"'])
def test_a_malformed_key_is_refused(value: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        key_of(request_with(value))
    assert caught.value.code == "invalid-idempotency-key"


def test_two_keys_are_refused() -> None:
    with pytest.raises(ServiceError):
        key_of(request_with(b"a", b"a"))
