"""Which files of two folders belong to which case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import InputError
from model.training.crops.points import STRUCTURE_NAMES
from model.training.crops.problems import Problems

IMAGE_SUFFIXES = (".nii.gz", ".nii")
POINT_SUFFIXES = (".npz", ".pkl")


@dataclass
class CaseFiles:
    """Files of one case.

    Attributes:
        image: the crop.
        points: `<case>.npz` or `<case>.pkl`, if any.
        label_map: `<case>.nii.gz` in the folder of vertices, if any.
        masks: `<case>_<structure>.nii.gz` by structure id.
    """

    image: Path
    points: Path | None = None
    label_map: Path | None = None
    masks: dict[str, Path] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file of the case."""
        found = (self.image, self.points, self.label_map, *self.masks.values())
        return tuple(path for path in found if path is not None)

    @property
    def kinds(self) -> int:
        """How many ways of giving the vertices there are."""
        return (self.points is not None) + (self.label_map is not None) + bool(self.masks)


def list_cases(images: Path, vertices: Path, problems: Problems) -> dict[str, CaseFiles]:
    """Pair the files of two folders by name; what has no partner, or two, is noted as a problem.

    Args:
        images: folder of crops, `<case>.nii.gz` or `<case>.nii`.
        vertices: folder of `<case>.npz`, `<case>.pkl`, label maps `<case>.nii.gz` or masks `<case>_<structure>.nii.gz`;
            it may be the same folder, which then can hold no masks. Hidden files and files of other kinds are passed
            over.
        problems: gets what is wrong.

    Returns:
        The files of every case that has an image and one kind of vertices, by name, in alphabetical order.

    Raises:
        InputError: a folder is not there, or has no images.
    """
    cases = _list_images(images, problems)
    for path in _files(vertices, (*POINT_SUFFIXES, *IMAGE_SUFFIXES), "vertices"):
        if path.name.endswith(IMAGE_SUFFIXES):
            if not vertices.samefile(images):
                _add_mask(cases, path, problems)
        elif path.stem not in cases:
            problems.add("vertices without an image", path.stem)
        elif cases[path.stem].points is not None:
            problems.add("two files of vertices", path.stem)
        else:
            cases[path.stem].points = path
    for name, files in cases.items():
        if files.kinds == 0:
            problems.add("no vertices for the image", name)
        if files.kinds > 1:
            problems.add("two kinds of vertices", name)
    return {name: files for name, files in cases.items() if files.kinds == 1}


def _list_images(folder: Path, problems: Problems) -> dict[str, CaseFiles]:
    """Give the cases by their images."""
    cases: dict[str, CaseFiles] = {}
    for path in _files(folder, IMAGE_SUFFIXES, "images"):
        name = _stem(path)
        if name in cases:
            problems.add("two images", name)
        else:
            cases[name] = CaseFiles(path)
    if not cases:
        raise InputError("the folder of images is empty", expected="crops, <case>.nii.gz", field="images")
    return cases


def _add_mask(cases: Mapping[str, CaseFiles], path: Path, problems: Problems) -> None:
    """Give a label map or mask to its case."""
    name = _stem(path)
    if name in cases:
        if cases[name].label_map is not None:
            problems.add("two label maps", name)
        cases[name].label_map = path
        return
    for suffix, structure in STRUCTURE_NAMES.items():
        case = name.removesuffix(f"_{suffix}")
        if case in cases and case != name:
            if structure in cases[case].masks:
                problems.add(f"two masks of {structure}", case)
            cases[case].masks[structure] = path
            return
    problems.add("a mask without an image, or of an unknown structure", name)


def _files(folder: Path, suffixes: tuple[str, ...], what: str) -> list[Path]:
    """Give the files of a folder that end in one of the suffixes, by name.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"the folder of {what} is not there", expected="an existing folder", field=what)
    entries = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in entries if path.name.endswith(suffixes))


def _stem(path: Path) -> str:
    """Give the name of an image without its suffix."""
    return path.name.removesuffix(".gz").removesuffix(".nii")
