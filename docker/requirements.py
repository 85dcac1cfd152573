"""Print what the project depends on, one requirement a line, so that it can be installed before the project itself.

    python docker/requirements.py pyproject.toml [EXTRA]

Without an extra: what every part needs. With one: what it adds, extras that it includes among it.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]


def of_extra(extra: str) -> Iterator[str]:
    """Give the requirements of an extra, those of the extras that it includes in their place."""
    for requirement in project["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{project['name']}\[(.+)\]", requirement)
        if own is None:
            yield requirement
            continue
        for included in own[1].split(","):
            yield from of_extra(included.strip())


print(*(of_extra(sys.argv[2]) if len(sys.argv) > 2 else project["dependencies"]), sep="\n")
