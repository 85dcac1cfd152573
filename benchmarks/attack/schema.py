"""Property tests of a service by its own OpenAPI document, with schemathesis: `python -m benchmarks.attack.schema`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.stack import shipped

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
"""What is checked of each answer (https://schemathesis.readthedocs.io).

Not whether all that the document allows is taken, or all else refused: no schema describes what is in a file.
"""


def command(url: str, examples: int, seed: int, headers: Sequence[str] = ()) -> list[str]:
    """Give the command that tests a service.

    Args:
        url: address of the service.
        examples: how many examples are tried of each operation and kind of data.
        seed: equal seeds give equal examples.
        headers: sent with every request.
    """
    options = ["--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", str(seed)]
    options += ["--phases", "examples,coverage,fuzzing", "--no-color", "--request-timeout", "30"]
    # Waiting is tested elsewhere; here it would only cost time. Streams of events end with their job.
    options += ["--exclude-path", "/v1/jobs/{job_id}/events"]
    sent = [word for header in headers for word in ("--header", header)]
    return [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", *options, *sent]


def main() -> int:
    """Test a service of its own; give the exit status of schemathesis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with shipped() as service:
        words = command(service.url, arguments.examples, arguments.seed)
        # Hypothesis writes its database into the working directory.
        done = subprocess.run(words, cwd=service.data_dir.parent, env=dict(os.environ), check=False)  # noqa: S603
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
