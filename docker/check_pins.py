"""Fail unless every package that is installed is there in the version of the constraints file.

    python docker/check_pins.py constraints.txt
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def normal(name: str) -> str:
    """Give the one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


lines = [line.partition("#")[0].strip() for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
pins = {normal(name): version for name, _, version in (line.partition("==") for line in lines if line)}
# A local label, such as `+cpu`, names a build of the same version (PEP 440).
installed = {normal(found.name): found.version.partition("+")[0] for found in distributions()}
wrong = {name: version for name, version in installed.items() if name != "cochlear" and pins.get(name) != version}
sys.exit("".join(f"{name} is {found}, not {pins.get(name)}\n" for name, found in sorted(wrong.items())) or 0)
