"""Meshes and masks of many methods and cases in the published layout.

`mesh/<method>/<MD|ST|SV|CC>/<case>.mesh` and `mask/<method>/<MD|ST|SV|CC>/<case>.nii.gz`; the method `gt` is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import InputError, OptionError
from model.structures import STRUCTURES

TRUTH = "gt"
"""The method that is the truth."""

NO_DEFORMATION = "no deformation"
"""The undeformed atlas, which is scored like a method."""

KNOWN_METHODS: Mapping[str, str] = {
    "chamfer": "Chamfer",
    "p2p": "P2P",
    "cgan": "cGAN+ASM",
    "nnunet": "nnU-Net",
    "segnet": "SegNet",
    "aba": "ABA",
    "elastix": "Elastix",
    "dice": "Dice loss",
}
"""Published methods by folder, in the order of tables, with their names in pictures; others follow by name."""

Kind = Literal["mesh", "mask"]
SUFFIXES: Mapping[Kind, str] = {"mesh": ".mesh", "mask": ".nii.gz"}

_LAYOUT = "mesh/<method>/<MD|ST|SV|CC>/<case>.mesh or mask/<method>/<MD|ST|SV|CC>/<case>.nii.gz"


@dataclass(frozen=True)
class PublishedFolders:
    """What was found.

    Attributes:
        methods: names of the methods, the truth not among them, in the order of tables.
        cases: names of the cases that have a truth, sorted.
        files: by kind, method, structure id and case.
        remarks: what takes no part, and why.
    """

    methods: tuple[str, ...]
    cases: tuple[str, ...]
    files: Mapping[tuple[Kind, str, str, str], Path]
    remarks: tuple[str, ...]

    def mesh(self, method: str, structure: str, case: str) -> Path | None:
        """Give the file of a surface, or None when there is none."""
        return self.files.get(("mesh", method, structure, case))

    def mask(self, method: str, structure: str, case: str) -> Path | None:
        """Give the file of a mask, or None when there is none."""
        return self.files.get(("mask", method, structure, case))


def find_published(
    data: Path, *, methods: Sequence[str] | None = None, cases: Sequence[str] | None = None
) -> PublishedFolders:
    """Find the meshes and masks of a folder in the published layout.

    Args:
        data: the folder that holds `mesh` and `mask`, or one of them.
        methods: which methods, in this order; None takes all.
        cases: which cases; None takes all that have a truth.

    Raises:
        InputError: there is no such folder, nothing in it, no truth, or no result for any case with a truth.
        OptionError: a wanted method or case is not there.
    """
    if not data.is_dir():
        raise InputError("the data folder is not there", expected="an existing folder", found=data.name)
    files = _scan(data)
    if not files:
        raise InputError("there is nothing to evaluate in the data folder", expected=_LAYOUT, found="no such file")
    present = {method for _, method, _, _ in files}
    if TRUTH not in present:
        raise InputError(
            "there is no truth in the data folder",
            expected=f"mesh/{TRUTH} or mask/{TRUTH}",
            found=f"methods {', '.join(sorted(present))}",
        )
    if NO_DEFORMATION in present:
        raise InputError(f"a method cannot be called {NO_DEFORMATION!r}", hint="rename its folders")
    in_truth = sorted({case for _, method, _, case in files if method == TRUTH})
    chosen_cases = _chosen(in_truth, cases, "case with a truth")
    chosen = _chosen(_in_order(present - {TRUTH}), methods, "method")
    remarks = _strangers(files, chosen, in_truth)
    return PublishedFolders(chosen, tuple(sorted(chosen_cases)), files, tuple(remarks))


def _scan(data: Path) -> dict[tuple[Kind, str, str, str], Path]:
    """Find all files of the layout."""
    files: dict[tuple[Kind, str, str, str], Path] = {}
    for kind, suffix in SUFFIXES.items():
        for structure in STRUCTURES:
            for path in sorted(data.glob(f"{kind}/*/{structure.code}/*{suffix}")):
                method, case = path.parent.parent.name, path.name.removesuffix(suffix)
                if case and path.is_file() and not method.startswith(".") and not case.startswith("."):
                    files[kind, method, structure.id, case] = path
    return files


def _in_order(methods: Iterable[str]) -> list[str]:
    """Sort methods: the published ones as in its tables, then the others by name."""
    known = list(KNOWN_METHODS)
    return sorted(methods, key=lambda name: (known.index(name) if name in known else len(known), name))


def _chosen(names: Sequence[str], wanted: Sequence[str] | None, what: str) -> tuple[str, ...]:
    """Give the wanted names in their order, or all."""
    if wanted is None:
        return tuple(names)
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        some = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        raise OptionError(f"there is no such {what}", expected=f"some of {some}", found=", ".join(unknown) or "none")
    return tuple(dict.fromkeys(wanted))


def _strangers(
    files: Mapping[tuple[Kind, str, str, str], Path], methods: Sequence[str], in_truth: Sequence[str]
) -> list[str]:
    """Name the cases that methods have results for and the truth knows nothing of."""
    remarks = []
    for method in methods:
        odd = sorted({case for _, owner, _, case in files if owner == method} - set(in_truth))
        if odd:
            remarks.append(f"{method}: {listed(odd, 'case')} without a truth")
    return remarks


def listed(names: Sequence[str], what: str, most: int = 3) -> str:
    """Count things and name the first of them, such as `4 cases (a, b, c and 1 more)`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({', '.join(names[:most])}{more})"
