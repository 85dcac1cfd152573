"""A synthetic ear with known truth, for checks of a whole pipeline, and how far results are from that truth."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.evaluation.distances import point_to_point_mm
from model.meshes.convert import to_space
from model.meshes.formats import read_mesh
from model.meshes.mesh import SurfaceMesh
from model.structures import STRUCTURES
from model.synthesis.ear import EarOptions, synthesize_ear
from model.synthesis.export import write_ear

TYPICAL_SEED = 11
"""Of seeds 0 to 19 whose ears are drawn with an implant, the one nearest their median error before deformation."""


def write_phantom(bundle: Bundle, seed: int, folder: Path) -> None:
    """Write a synthetic implanted ear of a bundle's atlas with landmarks and truth; see `write_ear` for the files.

    Args:
        bundle: its atlas is deformed, so that the truth has corresponding vertices.
        seed: the same seed and atlas give the same ear.
        folder: created when missing.
    """
    options = EarOptions(implant_share=1.0, drained_share=0.0, with_ddf=False)
    ear = synthesize_ear(bundle.atlas_meshes_ijk, seed, options)
    write_ear(ear, bundle.atlas_meshes_ijk, bundle.frame, folder)


def write_reordered(source: Path, target: Path) -> None:
    """Write the same image with its array axes in another order, one of them running the other way.

    Every voxel keeps its value and its place in the patient; only how the file stores them changes.

    Args:
        source: NIfTI file.
        target: NIfTI file to write.
    """
    image = nibabel.Nifti1Image.from_filename(source)
    # The new order of the three axes, and the direction of each (nibabel's orientation arrays).
    image.as_reoriented(np.array([[2, -1], [0, 1], [1, 1]])).to_filename(target)


def read_surfaces(folder: Path) -> dict[str, SurfaceMesh]:
    """Read the surfaces `<structure>.vtk` of all structures, in RAS mm.

    Args:
        folder: where they lie.

    Raises:
        InputError: when one is not there or cannot be used.
    """
    return {part.id: to_space(read_mesh(folder / f"{part.id}.vtk"), "ras") for part in STRUCTURES}


def vertex_errors_mm(found: SurfaceMesh, truth: SurfaceMesh) -> npt.NDArray[np.float64]:
    """Give the distance of each vertex from the corresponding one, mm.

    Raises:
        ValueError: when the surfaces do not correspond.
    """
    return point_to_point_mm(found.vertices, truth.vertices)
