"""Property tests of a service by its own OpenAPI document, with schemathesis: `python -m benchmarks.attack.schema`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from api.access.caller import Scope
from api.access.keys import KeyFile, new_key
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


def command(url: str, examples: int, seed: int, folder: Path, *, key: str = "", job_id: str = "") -> list[str]:
    """Give the command that tests a service.

    Args:
        url: address of the service.
        examples: how many examples are tried of each operation and kind of data.
        seed: equal seeds give equal examples.
        folder: where a configuration is written.
        key: an API key that is sent; then requests without it or with a wrong one must be refused, too.
        job_id: asked for in each operation that looks at a job and no others are tested; else ids are made up.
    """
    settings = folder / "schemathesis.toml"
    # 503 is the stated answer of a service, or one of its queues, that is not ready.
    lines = ["[checks.not_a_server_error]", 'expected-statuses = ["2xx", "3xx", "4xx", 503]']
    lines += ["[parameters]", f'"path.job_id" = "{job_id}"'] if job_id else []
    settings.write_text("\n".join(lines) + "\n")
    checks = (*CHECKS, "ignored_auth") if key else CHECKS
    options = ["--url", url, "--checks", ",".join(checks), "--max-examples", str(examples), "--seed", str(seed)]
    options += ["--phases", "examples,coverage,fuzzing", "--no-color", "--request-timeout", "60"]
    options += ["--generation-database", "none"]
    if job_id:
        options += ["--exclude-method", "POST", "--exclude-method", "DELETE"]
        options += ["--exclude-path-regex", "^(?!.*job_id)"]
    if key:
        options += ["--header", f"Authorization: Bearer {key}"]
    program = str(Path(sys.executable).with_name("schemathesis"))
    return [program, "--config-file", str(settings), "run", f"{url}/openapi.json", *options]


def main() -> int:
    """Test a service of its own, open and with keys; give 1 when anything was found, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    codes = []
    for access in ("open", "keys"):
        with shipped(COCHLEAR_ACCESS=access) as service:
            kept, key = new_key("attack", [Scope.ADMIN], None)
            if access == "open":
                key = ""
            else:
                KeyFile(service.data_dir / "keys.json").add(kept)
            words = command(service.url, arguments.examples, arguments.seed, service.data_dir.parent, key=key)
            codes.append(subprocess.run(words, cwd=service.data_dir.parent, check=False).returncode)  # noqa: S603
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
