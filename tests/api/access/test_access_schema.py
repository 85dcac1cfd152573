"""The service that asks for keys against its own OpenAPI document: answers as described, none without a key."""

from __future__ import annotations

import subprocess
from pathlib import Path

from service_fixtures import Service

from benchmarks.attack.schema import command


def test_answers_are_as_the_document_says_and_need_a_key(locked: Service, key_admin: str, tmp_path: Path) -> None:
    words = command(locked.url, 1, 0, tmp_path, key=key_admin)
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "ignored_auth" in " ".join(words)
