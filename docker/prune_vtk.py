"""Remove from the installed VTK all that some of its modules do not need, nine tenths of it.

    python docker/prune_vtk.py MODULE ...

The modules are imported, and what the system then has mapped of VTK is kept: they and all libraries they need.
"""

import importlib
import re
import sys
from pathlib import Path

import vtkmodules

folder = Path(vtkmodules.__file__).parent
for module in sys.argv[1:]:
    importlib.import_module(f"vtkmodules.{module}")
mapped = {
    Path(line.split(maxsplit=5)[5]).resolve()
    for line in Path("/proc/self/maps").read_text().splitlines()
    if "/" in line
}
removed = 0
for path in folder.rglob("*"):
    if re.search(r"\.so(\.|$)", path.name) and path.resolve() not in mapped:
        removed += path.stat().st_size
        path.unlink()
print(f"{removed / 2**20:.0f} MiB of VTK removed")
