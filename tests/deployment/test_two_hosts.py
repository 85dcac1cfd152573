"""Two hosts in network namespaces, one cut off in the middle of a job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import s3_server


def test_the_job_of_a_host_that_is_cut_off_moves_and_ends_once(tmp_path: Path) -> None:
    if not os.environ.get("COCHLEAR_DEPLOYMENT_TESTS"):
        pytest.skip("set COCHLEAR_DEPLOYMENT_TESTS=1: this makes network namespaces and takes minutes")
    reason = s3_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    command = [sys.executable, "-m", "benchmarks.two_hosts", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
