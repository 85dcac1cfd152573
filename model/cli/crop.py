"""`cochlear crop`: bring an ear into the canonical crop, as published models take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model.bundle import DEFAULT_BUNDLE
from model.cli.request import (
    BundleOption,
    EarArgument,
    LandmarksOption,
    SideChoice,
    check_image_name,
    load_request,
)
from model.volumes.write import write_nifti


def crop(
    ear: EarArgument,
    out: Annotated[Path, typer.Option(help="NIfTI file to write.")],
    bundle: BundleOption = DEFAULT_BUNDLE,
    landmarks: LandmarksOption = None,
    side: SideChoice = None,
) -> None:
    """Write the prepared crop of an ear, intensities in [-1, 1], and beside it the alignment that leads back."""
    check_image_name(out)
    loaded, request = load_request(ear, bundle, landmarks, side)
    image, _ = request.canonical_image(loaded.frame, loaded.intensity)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(out, image, loaded.frame.affine_ras, description="prepared crop of an ear")
    name = out.name.removesuffix(".gz").removesuffix(".nii")
    alignment = out.with_name(f"{name}.alignment.json")
    alignment.write_text(json.dumps(request.alignment.to_json(), indent=2) + "\n", encoding="utf-8")
    typer.echo(f"crop written, alignment in {alignment.name}")
