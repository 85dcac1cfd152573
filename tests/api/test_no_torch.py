"""The API process never pays for torch, at import or while it answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service_fixtures import Ear

from worker.embedded_redis import EmbeddedRedis

CODE = """
import sys
from pathlib import Path
import api.app, api.client, api.commands, api.supervisor, worker.commands, worker.service
assert "torch" not in sys.modules, "imported by the modules"
from fastapi.testclient import TestClient
from worker.settings import Settings
url, data, checkpoints, image, landmarks = sys.argv[1:]
settings = Settings(redis_url=url, data_dir=data, checkpoints=checkpoints, bundle="small", access="open")
with TestClient(api.app.create_app(settings), base_url="http://127.0.0.1") as client:
    form = {"files": {"image": Path(image).read_bytes()}, "data": {"landmarks": Path(landmarks).read_text()}}
    response = client.post("/v1/jobs", **form)
    assert response.status_code == 202, response.text
    for path in ("/", "/v1/models", "/v1/jobs", "/livez", "/openapi.json", response.headers["location"]):
        assert client.get(path).status_code == 200
    assert client.get("/readyz").status_code == 503
assert "torch" not in sys.modules, "imported by a request"
"""


def test_neither_import_nor_request_loads_torch(tmp_path: Path, checkpoints: Path, ear: Ear) -> None:
    with EmbeddedRedis(tmp_path) as redis:
        arguments = [redis.url, str(tmp_path), str(checkpoints), str(ear.image), str(ear.landmarks)]
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
