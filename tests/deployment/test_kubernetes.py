"""The Kubernetes manifests: every workload is probed, bounded and locked down, and names only what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
OBJECTS: list[dict[str, Any]] = [item for path in FILES for item in yaml.safe_load_all(path.read_text())]
WORKLOADS = [item for item in OBJECTS if item["kind"] in ("Deployment", "StatefulSet")]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for item in WORKLOADS:
        for container in item["spec"]["template"]["spec"]["containers"]:
            yield item["metadata"]["name"], container


def test_all_parts_are_there() -> None:
    assert {item["metadata"]["name"] for item in WORKLOADS} == {"redis", "api", "worker", "worker-gpu"}


@pytest.mark.parametrize("item", WORKLOADS, ids=lambda item: item["metadata"]["name"])
def test_every_workload_is_probed_bounded_and_locked_down(item: dict[str, Any]) -> None:
    pod = item["spec"]["template"]["spec"]
    assert item["spec"]["selector"]["matchLabels"].items() <= item["spec"]["template"]["metadata"]["labels"].items()
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # Longer than a worker takes to give its job back.
    assert pod["terminationGracePeriodSeconds"] >= 60
    mounted = {volume["name"] for volume in pod["volumes"]} | {
        claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])
    }
    for container in pod["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys()
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["name"] for mount in container["volumeMounts"]} == mounted


def test_secrets_are_only_named_and_settings_exist() -> None:
    assert not [item for item in OBJECTS if item["kind"] == "Secret"]
    config = next(item for item in OBJECTS if item["kind"] == "ConfigMap")
    names = set(config["data"])
    for _, container in containers():
        for variable in container.get("env", []):
            names.add(variable["name"])
            if "PASSWORD" in variable["name"] or variable["name"] == "COCHLEAR_REDIS_URL":
                assert "secretKeyRef" in variable["valueFrom"]
    ours = {name.removeprefix("COCHLEAR_").lower() for name in names if name.startswith("COCHLEAR_")}
    assert ours <= Settings.model_fields.keys()


def test_the_metrics_that_scale_the_workers_exist() -> None:
    source = (FOLDER.parents[1] / "api" / "metrics_routes.py").read_text()
    queries = [
        trigger["metadata"]["query"]
        for item in OBJECTS
        if item["kind"] == "ScaledObject"
        for trigger in item["spec"]["triggers"]
    ]
    assert len(queries) == 2
    for query in queries:
        found = re.findall(r"cochlear_[a-z_]+", query)
        assert found
        assert all(f'"{name}"' in source for name in found)


@pytest.mark.parametrize("overlay", ["base", "gpu", "keda"])
def test_kustomize_builds_them(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("not installed: kubectl")
    built = subprocess.run(["kubectl", "kustomize", str(FOLDER / overlay)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    objects = list(yaml.safe_load_all(built.stdout))
    names = {item["metadata"]["name"] for item in objects if item["kind"] == "Deployment"}
    assert names == ({"api", "worker"} if overlay == "base" else {"api", "worker", "worker-gpu"})
    kinds = pytest.importorskip("kubernetes_validate")
    for item in objects:
        if item["kind"] != "ScaledObject":
            kinds.validate(item, "1.34", strict=True)
