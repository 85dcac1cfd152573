"""Print what the project depends on, one requirement a line, so that it can be installed before the project itself.

    python docker/requirements.py pyproject.toml [EXTRA ...]

Without extras: what every part needs. With extras: what these add.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
extras = sys.argv[2:]
listed = [project["optional-dependencies"][extra] for extra in extras] if extras else [project["dependencies"]]
print(*(requirement for requirements in listed for requirement in requirements), sep="\n")
