"""Options that commands on one ear share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model.bundle import Bundle, check_takes_images, find_bundle, load_bundle
from model.errors import LandmarksError, OptionError
from model.geometry.landmarks import Landmarks
from model.request import CheckedRequest, check_request


class SideOption(StrEnum):
    """Which ear."""

    LEFT = "left"
    RIGHT = "right"


EarArgument = Annotated[Path, typer.Argument(help="NIfTI file of the ear (.nii or .nii.gz).", show_default=False)]
BundleOption = Annotated[str, typer.Option(help="Model bundle: a name or a path.")]
LandmarksOption = Annotated[Path | None, typer.Option(help="JSON file of landmarks; needed for a raw CT.")]
SideChoice = Annotated[SideOption | None, typer.Option(help="Side of the ear, when the landmarks do not say it.")]


def load_request(
    ear: Path, bundle: str, landmarks: Path | None, side: SideOption | None
) -> tuple[Bundle, CheckedRequest]:
    """Load a bundle and check an ear against it.

    Raises:
        InputError: the bundle, the image or the landmarks cannot be used.
    """
    loaded = load_bundle(find_bundle(bundle))
    check_takes_images(loaded.manifest)
    request = check_request(
        ear,
        landmarks=None if landmarks is None else read_landmarks(landmarks),
        side=None if side is None else side.value,
        frame=loaded.frame,
        intensity=loaded.intensity,
    )
    return loaded, request


def check_image_name(path: Path) -> None:
    """Refuse a name for a new image that readers would not take for NIfTI.

    Raises:
        OptionError: it ends in neither `.nii` nor `.nii.gz`.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise OptionError(
            "the name of the image to write cannot be used", expected="a name that ends in .nii or .nii.gz", field="out"
        )


def read_landmarks(path: Path) -> Landmarks:
    """Read a landmarks file.

    Raises:
        LandmarksError: it cannot be read or used.
    """
    try:
        return Landmarks.parse(path.read_bytes())
    except OSError as error:
        raise LandmarksError(
            "the landmarks file cannot be read", expected="a JSON file", found="no readable file", field="landmarks"
        ) from error
