"""Whether what a job published is whole: every file as its record and its manifest say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from worker.jobs import JobRecord


def published_digests_agree(folder: Path, record: JobRecord) -> bool:
    """Compare the files of a finished job with its record, and its manifest with both.

    Args:
        folder: the folder of the job in a local artifact store.
        record: its record.
    """
    for name, file in record.files.items():
        stored = folder / "results" / name
        if not stored.is_file() or hashlib.sha256(stored.read_bytes()).hexdigest() != file.sha256:
            return False
    manifest = json.loads((folder / "results" / "manifest.json").read_text())
    listed = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    return bool(listed) and all(record.files[name].sha256 == digest for name, digest in listed.items())
