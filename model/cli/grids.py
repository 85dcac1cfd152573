"""Options that say which grid voxel indices belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from model.errors import OptionError
from model.meshes.published import published_grid
from model.volumes.grid import grid_of_image, stated_grid
from model.volumes.volume import Volume

GridOption = Annotated[
    str | None, typer.Option("--grid", help="Voxels of the grid when there is no image, as 128 or 128x128x100.")
]
SpacingOption = Annotated[
    str | None, typer.Option("--spacing", help="Voxel size of that grid in mm, as 0.2 or 0.2x0.2x0.3.")
]
_IMAGE_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class GridChoice:
    """Where the grid of a surface comes from: an image, a folder of them, numbers, or the surface's own file.

    Attributes:
        like: NIfTI image, or folder with an image for every surface.
        grid: stated numbers of voxels.
        spacing: stated voxel sizes in mm.
    """

    like: Path | None = None
    grid: str | None = None
    spacing: str | None = None

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if (self.grid is None) != (self.spacing is None):
            raise OptionError("--grid and --spacing belong together", expected="both or neither", field="grid")
        if self.grid is not None and self.like is not None:
            raise OptionError("--like and --grid exclude each other", expected="one of them", field="grid")

    def of(self, mesh: Path, name: str | None = None) -> Volume | None:
        """Give the grid for a surface; None when nothing says it.

        Args:
            mesh: file of the surface; a published one may state its grid itself.
            name: its path within the folder given, to find its image in a folder of images.

        Raises:
            OptionError: numbers cannot be read, or there is no image of that name.
            ImageError: the image cannot be used.
        """
        if self.like is not None:
            return grid_of_image(self._image(mesh, name))
        if self.grid is not None and self.spacing is not None:
            sizes = [int(size) for size in _three(self.grid, "grid", whole=True)]
            return stated_grid(sizes, _three(self.spacing, "spacing"))
        if mesh.suffix.lower() == ".mesh" and mesh.is_file():
            with mesh.open("rb") as stream:
                own = published_grid(stream.read(64))
            return None if own is None else stated_grid(*own)
        return None

    def needed_of(self, mesh: Path, name: str | None = None) -> Volume:
        """Give the grid for a surface; arguments and errors as for `of`.

        Raises:
            OptionError: also when nothing says which grid.
        """
        grid = self.of(mesh, name)
        if grid is None:
            raise OptionError(
                "the grid is not known", expected="--like IMAGE, or --grid and --spacing", found="neither"
            )
        return grid

    def _image(self, mesh: Path, name: str | None) -> Path:
        """Give the image of a surface: the one given, or of its name or of a folder it lies in."""
        if self.like is None or not self.like.is_dir():
            return self.like or mesh
        relative = Path(name or mesh.name)
        stems = [relative.with_suffix(""), *list(relative.parents)[:-1]]
        for stem in stems:
            for suffix in _IMAGE_SUFFIXES:
                path = self.like / stem.with_name(stem.name + suffix)
                if path.is_file():
                    return path
        found = f"none named {' or '.join(stem.as_posix() for stem in stems)}"
        raise OptionError("there is no image for this surface", expected="a NIfTI image", found=found, field="like")


def _three(text: str, field: str, *, whole: bool = False) -> list[float]:
    """Read one or three positive numbers, separated by x."""
    try:
        values = [float(part) for part in text.lower().split("x")]
    except ValueError:
        values = []
    good = len(values) in (1, 3) and all(0 < value < 1e5 and (not whole or value == int(value)) for value in values)
    if not good:
        raise OptionError(
            f"--{field} cannot be read", expected="one or three positive numbers", found=text, field=field
        )
    return values * 3 if len(values) == 1 else values
