"""The words by which mesh files say which space their vertices are in.

3D Slicer parses `SPACE=LPS` and `SPACE=RAS` in titles, headers and comments, and takes LPS where there is neither.
"""

from __future__ import annotations

import re

from model.meshes.mesh import Space

SPACE_ARRAY = "SPACE"
"""Name of the field data array that says it in a VTP file."""

_SPACES: dict[str, Space] = {"LPS": "lps", "RAS": "ras", "IJK": "ijk"}


def space_tag(space: Space) -> str:
    """Give the tag of a space, such as `SPACE=LPS`; `SPACE=IJK` marks voxel indices."""
    return f"SPACE={space.upper()}"


def space_from_text(text: str) -> Space:
    """Find the space in a title, header or comment; LPS when it says nothing, as 3D Slicer has it."""
    match = re.search(r"SPACE=(LPS|RAS|IJK)\b", text)
    return _SPACES[match.group(1)] if match else "lps"
