"""Without keys only programs of this machine are served; and what is shared by all API processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import httpx
import pytest
from access_fixtures import answer_to, assert_problem, assert_safe
from service_fixtures import COMMAND, Service

from api.access.origin import is_loopback
from api.access.rate import RateLimit
from api.problems import ServiceError
from api.server import settle_access
from worker.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "foreign-origin"),
        ({"Host": "evil.example:8000"}, "foreign-origin"),
        ({"Host": "127.0.0.1.evil.example"}, "foreign-origin"),
        ({"Host": "localhost.evil.example"}, "foreign-origin"),
        ({"Host": "localhost@evil.example"}, "foreign-origin"),
        ({"Host": "[::"}, "foreign-origin"),
        ({"Host": ""}, "foreign-origin"),
        ({"Origin": "https://evil.example"}, "foreign-origin"),
        ({"Origin": "null"}, "foreign-origin"),
        ({"Origin": "http://["}, "foreign-origin"),
        ({"Origin": "http://127.0.0.1:1"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign-origin"),
        ({"X-Forwarded-For": "192.0.2.7"}, "not-local"),
        ({"Forwarded": "for=192.0.2.7"}, "not-local"),
    ],
)
def test_foreign_pages_and_proxies_are_refused(service: Service, headers: dict[str, str], code: str) -> None:
    for method in ("GET", "POST"):
        assert_problem(service.http.request(method, "/v1/jobs", headers=headers), 403, code)


def test_this_machine_is_served_by_any_of_its_names(service: Service) -> None:
    port = httpx.URL(service.url).port
    for headers in (
        {},
        {"Host": "localhost"},
        {"Host": f"LOCALHOST:{port}"},
        {"Host": f"[::1]:{port}"},
        {"Origin": service.url, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        response = service.http.get("/v1/jobs", headers=headers)
        assert response.status_code == 200, headers
        assert_safe(response)
    assert_problem(answer_to(service, b"GET /v1/jobs HTTP/1.0\r\n\r\n"), 403, "foreign-origin")


def test_which_addresses_are_this_machine() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "", "example.com", "2130706433", "::ffff:10.0.0.1")))  # noqa: S104


def test_access_is_open_on_loopback_addresses_only() -> None:
    unset, open_, keys = (Settings(access=access) for access in (None, "open", "keys"))
    assert [settle_access(settings, "127.0.0.1") for settings in (unset, open_, keys)] == ["open", "open", "keys"]
    assert [settle_access(settings, "0.0.0.0") for settings in (unset, keys)] == ["keys", "keys"]  # noqa: S104
    with pytest.raises(SettingsError, match="COCHLEAR_ACCESS"):
        settle_access(open_, "192.0.2.1")


def test_open_access_on_the_network_is_refused_at_the_start(service: Service) -> None:
    done = run_api(service, "--host", "0.0.0.0", COCHLEAR_ACCESS="open")  # noqa: S104
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert errors.startswith("error: access cannot be open")
    assert len(errors.strip().splitlines()) == 1


def test_http_alone_serves_the_jobs_of_the_same_redis_and_stops_gracefully(service: Service) -> None:
    # All addresses: then keys are asked for, and requests to this machine are no exception.
    process = run_api(service, "--host", "0.0.0.0")  # noqa: S104
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens at http://0.0.0.0:" in line
        url = f"http://127.0.0.1:{line.split()[3].rpartition(':')[2]}"
        with httpx.Client(base_url=url, timeout=30) as client:
            assert client.get("/livez").status_code == 200
            assert_problem(client.get("/v1/jobs"), 401, "unauthorized")
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "there is none yet" in errors


def run_api(service: Service, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `cochlear api` beside a service."""
    return subprocess.Popen(
        [*COMMAND, "api", "--port", "0", *arguments],
        env={**os.environ, "COCHLEAR_REDIS_URL": redis_url(service), "COCHLEAR_DATA_DIR": "/nowhere", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def redis_url(service: Service) -> str:
    return f"unix://{service.data_dir / 'redis' / 'redis.sock'}"


def test_requests_of_one_caller_count_together_over_all_processes(service: Service) -> None:
    async def flood() -> tuple[list[object], int | None]:
        limits = [RateLimit(redis_url(service), per_second=2.0) for _ in range(2)]
        try:
            counted = [limits[number % 2].count("key:a") for number in range(30)]
            answers = await asyncio.gather(*counted, return_exceptions=True)
            await limits[0].count("key:b")
        finally:
            for limit in limits:
                await limit.close()
        refused = [answer for answer in answers if isinstance(answer, ServiceError)]
        return list(answers), refused[0].retry_after_s if refused else None

    answers, retry_after_s = asyncio.run(flood())
    assert answers.count(None) == 20, "two a second over ten seconds"
    assert {type(answer) for answer in answers} == {type(None), ServiceError}
    assert retry_after_s is not None
    assert 1 <= retry_after_s <= 10
