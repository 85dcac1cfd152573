"""Which part may import which: the model knows no service, and the service's front never pays for torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {"model": {"api", "worker"}, "worker": {"api"}, "api": {"torch", "lightning"}}
"""By part, what no module of it may import, not even within a function."""

MAY_USE_TORCH = (
    "model/atlas",
    "model/cli/train.py",
    "model/device.py",
    "model/inference",
    "model/losses",
    "model/methods",
    "model/networks",
    "model/registration",
    "model/release",
    "model/reproduce",
    "model/segmentation.py",
    "model/training",
)
"""Files and folders of the model that may import torch when they are imported."""


def imported(path: Path, *, at_import_only: bool = False) -> set[str]:
    """Give the top-level packages that a file imports, those under `if TYPE_CHECKING` and in functions included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(tree.body) if at_import_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def sources(part: str) -> list[Path]:
    files = sorted((ROOT / part).rglob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_no_part_imports_what_lies_above_it(part: str) -> None:
    wrong = {str(path.relative_to(ROOT)): imported(path) & FORBIDDEN[part] for path in sources(part)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_torch_is_imported_only_where_networks_are() -> None:
    wrong = []
    for path in sources("model"):
        relative = path.relative_to(ROOT).as_posix()
        if imported(path, at_import_only=True) & {"torch", "lightning"} and not relative.startswith(MAY_USE_TORCH):
            wrong.append(relative)
    assert wrong == []


def test_tests_and_helpers_are_imported_by_nobody() -> None:
    wrong = [path for part in FORBIDDEN for path in sources(part) if imported(path) & {"tests", "pytest"}]
    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "import model.cli.main; model.cli.main.build_app()",
        "import api.app, api.client, api.commands",
        "import model.request, model.outputs.write, model.bundle, model.synthesis.ear",
    ],
)
def test_torch_stays_out_of_the_process(code: str) -> None:
    check = "import sys; heavy = {'torch', 'lightning'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", f"{code}; {check}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
