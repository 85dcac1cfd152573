"""Draws docs/synthesis.png and docs/implant-pairs.png: synthetic beside real ears, and real ears before and after.

    python -m benchmarks.synthesis_pictures --ears DIR --out docs

The real ears are training ears of W. Wimmer et al., "Human bony labyrinth dataset", Data in Brief 27 (2019) 104782,
doi 10.1016/j.dib.2019.104782, CC BY 4.0; the pictures say so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from model.atlas.labelled_ears import read_labelled_ears, read_split
from model.bundle import DEFAULT_BUNDLE, Bundle, find_bundle, load_bundle
from model.geometry.landmarks import Landmarks
from model.geometry.spaces import apply_affine
from model.request import check_request
from model.segmentation import Segmenter
from model.structures import LABYRINTH
from model.synthesis.designs import MAKERS
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.insert import insert_implant
from model.synthesis.scanner import HU_MIN
from model.synthesis.template import build_template

CREDIT = "Real ears: Wimmer et al. 2019, Data in Brief 27:104782, CC BY 4.0"
WINDOW_HU = (-1024.0, 2900.0)
_TILE, _MARGIN, _HEADER = 148, 4, 18
_REACH = 48
_GREYS = 40

Picture = npt.NDArray[np.float32]


def tile(section_hu: Picture, size: int) -> Image.Image:
    """Draw a section, rows downwards, as a square of grey values."""
    low, high = WINDOW_HU
    grey = np.clip((section_hu - low) / (high - low), 0.0, 1.0)
    return Image.fromarray(np.rint(255 * grey).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)


def sheet(rows: Sequence[tuple[str, Sequence[Picture]]], size: int) -> Image.Image:
    """Put rows of sections under their headings, with the credit at the foot."""
    width = max(len(row) for _, row in rows) * (size + _MARGIN) + _MARGIN
    page = Image.new("L", (width, len(rows) * (size + _HEADER) + _HEADER), 255)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(12)
    for number, (heading, sections) in enumerate(rows):
        top = number * (size + _HEADER)
        draw.text((_MARGIN, top + 1), heading, fill=0, font=font)
        for column, section in enumerate(sections):
            page.paste(tile(section, size), (_MARGIN + column * (size + _MARGIN), top + _HEADER))
    draw.text((_MARGIN, len(rows) * (size + _HEADER) + 1), CREDIT, fill=0, font=font)
    return page


def save(page: Image.Image, path: Path) -> None:
    """Write a picture with few grey values, which noise would otherwise make large."""
    page.quantize(_GREYS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def sections(image_hu: Picture, centre_ijk: npt.NDArray[np.float64]) -> tuple[Picture, Picture]:
    """Give the axial and the coronal section of a canonical crop through a point, 19 mm wide."""
    i, j, k = (int(np.clip(round(value), _REACH, 127 - _REACH)) for value in centre_ijk)
    # The crop's axes are left, posterior, superior: anterior and superior are drawn upwards.
    axial = image_hu[i - _REACH : i + _REACH, j - _REACH : j + _REACH, round(centre_ijk[2])].T
    coronal = image_hu[i - _REACH : i + _REACH, round(centre_ijk[1]), k - _REACH : k + _REACH].T[::-1]
    return axial, coronal


def _middle(vertices_ijk: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the middle of the box round a surface."""
    return np.asarray((vertices_ijk.min(axis=0) + vertices_ijk.max(axis=0)) / 2)


def draw_ears(bundle: Bundle, ears: Path, names: Sequence[str], seeds: Sequence[int]) -> Image.Image:
    """Draw sections of real and of synthetic ears through the middle of the labyrinth, a little below it."""
    below = np.array([0.0, -14.0, -8.0])
    real = [
        sections(ear.image_hu, _middle(ear.surface_ijk.vertices) + below)
        for ear in read_labelled_ears(ears, names, bundle.frame, fill_hu=HU_MIN)
    ]
    atlas = bundle.atlas_meshes_ijk
    template = build_template(atlas)
    options = EarOptions(implant_share=0.0, with_ddf=False)
    made = []
    for seed in seeds:
        ear = synthesize_ear(atlas, seed, options, template)
        made.append(sections(ear.image_hu, _middle(ear.vertices_ijk[LABYRINTH.id]) + below))
    return sheet(
        [
            ("real, axial: " + ", ".join(names), [axial for axial, _ in real]),
            ("synthetic, axial: seeds " + ", ".join(map(str, seeds)), [axial for axial, _ in made]),
            ("real, coronal", [coronal for _, coronal in real]),
            ("synthetic, coronal", [coronal for _, coronal in made]),
        ],
        _TILE,
    )


def draw_pairs(bundle: Bundle, ears: Path, name: str, seed: int) -> Image.Image:
    """Draw an ear before and after insertion of an array of each maker, in slices of the scan itself."""
    folder = ears / name
    request = check_request(
        folder / "ct.nii.gz",
        landmarks=Landmarks.parse((folder / "landmarks.json").read_bytes()),
        side=None,
        frame=bundle.frame,
        intensity=bundle.intensity,
    )
    found = Segmenter(bundle).run(request)
    meshes = {n: mesh.transformed(request.alignment.ras_to_canonical, "ijk") for n, mesh in found.meshes_ras.items()}
    rows: list[tuple[str, list[Picture]]] = []
    for maker in MAKERS:
        after = insert_implant(request.volume, meshes, request.alignment, seed, maker=maker)
        contacts = apply_affine(np.linalg.inv(request.volume.affine), after.contacts_ras[after.array.inside])
        heights = np.round(np.percentile(contacts[:, 2], [15, 55, 90])).astype(int)
        pictures = []
        for k in heights:
            for image in (request.volume.data, after.image_hu.astype(np.float32)):
                pictures.append(_square(image[:, ::-1, k].T))
        heading = f"{after.array.design.name}, {after.array.insertion_deg:.0f} degrees: before, after in three slices"
        rows.append((f"{name}, {heading}", pictures))
    return sheet(rows, 140)


def _square(section_hu: Picture) -> Picture:
    """Fill a section up to a square."""
    size = max(section_hu.shape)
    before = [(size - length) // 2 for length in section_hu.shape]
    widths = [(start, size - length - start) for start, length in zip(before, section_hu.shape, strict=True)]
    return np.pad(section_hu, widths, constant_values=HU_MIN)


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE)
    parser.add_argument("--ears", type=Path, required=True, help="folder of labelled ears with split.json")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--only", choices=["ears", "pairs"], help="draw one of the two")
    arguments = parser.parse_args()
    bundle = load_bundle(find_bundle(arguments.bundle))
    train = read_split(arguments.ears)["train"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only != "pairs":
        save(draw_ears(bundle, arguments.ears, train[:6], range(6)), arguments.out / "synthesis.png")
    if arguments.only != "ears":
        save(draw_pairs(bundle, arguments.ears, train[1], 3), arguments.out / "implant-pairs.png")


if __name__ == "__main__":
    main()
