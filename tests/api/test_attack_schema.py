"""The running service against its own OpenAPI document: no server errors, answers as described."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from service_fixtures import Service

from benchmarks.attack.schema import command

EXAMPLES = 2


def test_answers_are_as_the_document_says(service: Service, tmp_path: Path) -> None:
    words = command(service.url, EXAMPLES, seed=0)
    done = subprocess.run(words, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Tested: 30" in done.stdout, done.stdout[-1500:]
    assert service.http.get("/readyz").status_code == 200
