"""Fail unless every package that is installed is there in the version of the constraints file.

    python docker/check_pins.py constraints.txt [PATTERN ...]

Packages that a pattern matches may have any version: torch itself demands exact ones of what its CUDA builds need.
"""

import re
import sys
from fnmatch import fnmatch
from importlib.metadata import distributions
from pathlib import Path


def normal(name: str) -> str:
    """Give the one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


lines = [line.partition("#")[0].strip() for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
pins = {normal(name): version for name, _, version in (line.partition("==") for line in lines if line)}
# A local label, such as `+cpu`, names a build of the same version (PEP 440).
installed = {normal(found.name): found.version.partition("+")[0] for found in distributions()}
free = ["cochlear", *sys.argv[2:]]
wrong = {
    name: version
    for name, version in installed.items()
    if pins.get(name) != version and not any(fnmatch(name, pattern) for pattern in free)
}
sys.exit("".join(f"{name} is {found}, not {pins.get(name)}\n" for name, found in sorted(wrong.items())) or 0)
