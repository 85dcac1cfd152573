"""The dashboard, the scrape configuration and the alerts speak of metrics that the service really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from service_fixtures import Ear, Service

from api.problems import STATUS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "cochlear.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
SCRAPE = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())

NOT_OURS = {"up"}
"""Prometheus itself adds it."""
_SELECTOR = re.compile(r"\b(up|cochlear_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)(?:=~|!~|!=|=)\"")
_GROUPING = re.compile(r"\bby \(([^)]*)\)")


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def selectors(expressions: list[str]) -> Iterator[tuple[str, set[str]]]:
    """Give the metrics that expressions name, with the labels they are chosen by."""
    for expression in expressions:
        for name, labels in _SELECTOR.findall(expression):
            yield name, set(_LABEL.findall(labels)) - {"job"}


def offered(service: Service) -> dict[str, set[str]]:
    """Give the labels of every series name of a real answer."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(service.http.get("/metrics").text):
        # A family that has counted nothing yet names itself all the same.
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""]):
            found.setdefault(family.name + suffix, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_named_is_offered_and_every_one_offered_is_shown(service: Service, ear: Ear) -> None:
    done = service.submit(ear)
    service.wait_until_finished(done["id"])
    series = offered(service)
    named = dict.fromkeys([*dashboard_expressions(), *(rule["expr"] for rule in rules())])
    for name, labels in selectors(list(named)):
        assert name in series or name in NOT_OURS, name
        # Jobs that failed, or were tried again, need not have been there.
        if series.get(name):
            assert labels <= series[name], (name, labels)
    shown = {name for name, _ in selectors(dashboard_expressions())}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = {
        name
        for name in series
        if name not in shown and re.sub(r"_(bucket|sum|count)$", "", name) not in families and "created" not in name
    }
    assert missing == set()


def test_expressions_are_balanced_and_group_by_labels_that_exist(service: Service) -> None:
    known = set().union(*offered(service).values(), {"code", "reason", "state", "stage", "verdict", "le"})
    for expression in [*dashboard_expressions(), *(rule["expr"] for rule in rules())]:
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression
        for labels in _GROUPING.findall(expression):
            assert {label.strip() for label in labels.split(",")} <= known, expression


def test_alerts_say_what_to_do_and_know_the_codes() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
        for pattern in re.findall(r'code=~"([^"]*)"', rule["expr"]):
            for part in pattern.split("|"):
                assert any(re.fullmatch(part, code) for code in STATUS), part


def test_the_scrape_configuration_carries_a_key_and_loads_the_alerts() -> None:
    [job] = SCRAPE["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "cochlear-key"}
    assert [(DEPLOY / "prometheus" / name).is_file() for name in SCRAPE["rule_files"]] == [True]
    assert {job["job_name"]} == set(re.findall(r'up\{job="([^"]*)"', rules()[0]["expr"]))


def test_panels_do_not_overlap_and_use_the_chosen_data_source() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not own & cells, panel["title"]
        cells |= own
        assert panel["datasource"]["uid"] == "${datasource}"
    assert max(x for x, _ in cells) < 24
