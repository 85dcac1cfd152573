"""The card of a model: what it is, what it was made of, how good it is, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.atlas.signed_distance import SignedDistance
from model.bundle.schema import BundleDescription
from model.meshes.mesh import SurfaceMesh
from model.structures import LABYRINTH, SCALA_TYMPANI, SCALA_VESTIBULI, structure_by_id

WAYS = {"rigid": "before", "network": "network", "refined": "network + refinement"}


def write_card(
    description: BundleDescription, meshes_ijk: Mapping[str, SurfaceMesh], picture: str, about: Sequence[str] = ()
) -> str:
    """Give the card as Markdown.

    Args:
        description: what the bundle states.
        meshes_ijk: surfaces of the atlas, crop voxels.
        picture: file name of the picture beside the card.
        about: paragraphs on the atlas.
    """
    citation = description.citation
    voxel_mm3 = description.frame.spacing_mm**3
    structures = [
        f"| {structure_by_id(name).name} | {len(mesh.vertices)} | {len(mesh.triangles)} "
        f"| {mesh.signed_volume * voxel_mm3:.1f} |"
        for name, mesh in meshes_ijk.items()
    ]
    parts = [
        f"# {description.name} {description.version}",
        f"**{description.intended_use}** Licence: {description.licence}.",
        f"![The atlas]({picture})",
        "## Atlas\n\n| structure | vertices | triangles | volume, mm³ |\n|---|---|---|---|\n" + "\n".join(structures),
        *about,
        f"## Trained on\n\n{description.training.data}" + (f"\n\nCite: {citation}." if citation else ""),
        "## Scores\n\n" + _scores(description.scores),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in description.limits),
    ]
    return "\n\n".join(parts) + "\n"


def scalae_text(meshes_ijk: Mapping[str, SurfaceMesh]) -> str:
    """Say how far the scalae lie inside the labyrinth, and what their volumes are compared with."""
    labyrinth = meshes_ijk[LABYRINTH.id]
    depth = SignedDistance(labyrinth.vertices, labyrinth.triangles)
    shares = [
        f"{part.name} {100 * float((depth(meshes_ijk[part.id].vertices) < 0).mean()):.1f} %"
        for part in (SCALA_TYMPANI, SCALA_VESTIBULI)
    ]
    return (
        f"Vertices inside the labyrinth: {', '.join(shares)}. Published volumes: scala tympani 34.2 ± 7 mm³, range 23 "
        "to 50 (Dhanasingh et al. 2021, PMC8514755); labyrinth labels of the training ears 144 to 267 mm³. For the "
        "scala vestibuli and the modiolus no series of like measure was found; they follow section heights by angle "
        "and the inner walls of the turns."
    )


def _scores(scores: Mapping[str, Any]) -> str:
    """Give the tables of the scores that are known."""
    tables = []
    if "labyrinth_dice" in scores:
        rows = scores["labyrinth_dice"]
        tables.append("Labyrinth Dice on validation ears, landmarks given:\n\n" + _table("ear", rows))
    for key, values in scores.items():
        if key.startswith("synthetic_p2p"):
            where = key.removeprefix("synthetic_p2p_mm_median_").replace("_", " ")
            columns = {way: dict(values[way]) for way in WAYS}
            rows = {structure_by_id(name).name: {way: columns[way][name] for way in WAYS} for name in columns["rigid"]}
            title = f"Median over unseen synthetic ears ({where}) of the mean point-to-point error, mm:"
            tables.append(f"{title}\n\n{_table('structure', rows)}")
    return "\n\n".join(tables) or "Not measured yet."


def _table(first: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Give one table with a column per way of registering."""
    lines = [f"| {first} | " + " | ".join(WAYS.values()) + " |", "|---" * (len(WAYS) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{row[way]:.3f}" for way in WAYS) + " |" for name, row in rows.items()]
    return "\n".join(lines)
