"""Mutated uploads against the running service: refused or accepted in due form, within memory, nothing left behind."""

from __future__ import annotations

import sys

import pytest
from service_fixtures import Ear, Service

from benchmarks.attack.uploads import attack, report

CHECK_CAP_BYTES = 700 * 2**20
SERVICE_GROWTH_BYTES = 150 * 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_mutated_uploads_are_answered_in_due_form(service: Service, ear: Ear) -> None:
    def resident() -> int:
        text = open(f"/proc/{service.process.pid}/status").read()  # noqa: SIM115
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS"))

    before = resident()
    image, landmarks = ear.image.read_bytes(), ear.landmarks.read_text()
    outcome = attack(service.url, service.process.pid, service.data_dir, image, landmarks, range(120))
    assert (outcome.wrong, outcome.left) == ([], []), report(outcome)
    assert outcome.answers.total() == 120
    assert {name for name, _ in outcome.answers} > {"bomb", "fields", "noise", "sizes", "body-texts", "body-cut"}
    assert 0 < outcome.peak_check_bytes < CHECK_CAP_BYTES
    assert resident() - before < SERVICE_GROWTH_BYTES
    assert service.http.get("/readyz").status_code == 200
