"""Where the ears of a study are made, and kept for the next run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from model.bundle import Bundle
from model.meshes.convert import to_space
from model.meshes.formats import write_mesh
from model.methods.network import Network
from model.study.case import IMAGE, LABEL, LANDMARKS, TRUTH, StudyCase
from model.synthesis.designs import MAKERS
from model.synthesis.ear import EarOptions, SyntheticEar, synthesize_ear
from model.synthesis.export import write_ear
from model.synthesis.insert import insert_implant
from model.synthesis.template import TissueTemplate, build_template
from model.volumes.write import write_nifti

IMPLANT = "implant.json"
"""File with the facts about an inserted array."""

_ARRAY_STREAM = 12


class Workshop:
    """Makes ears of one model's anatomy: its atlas, and where it finds the scala tympani of a real ear.

    An ear is kept under the digest of the model, so that another model makes its own. After a change of the code that
    makes ears, the folder has to be deleted.
    """

    def __init__(self, anatomy: Bundle, folder: Path) -> None:
        """Take a model and a folder for what is made."""
        self.anatomy = anatomy
        self._folder = folder / anatomy.digest[:12]

    @cached_property
    def _template(self) -> TissueTemplate:
        return build_template(self.anatomy.atlas_meshes_ijk)

    @cached_property
    def _network(self) -> Network:
        return Network(self.anatomy, self.anatomy.name, refine=True)

    def once(self, group: str, name: str, write: Callable[[Path], None]) -> Path:
        """Give the folder of an ear, written by `write` unless it is there; it appears whole or not at all."""
        final = self._folder / group / name
        if not final.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(mkdtemp(prefix=f".{name}-", dir=final.parent))
            try:
                write(draft)
                draft.rename(final)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return final

    def synthesize_scan(self, seed: int, to: Path) -> None:
        """Write the implanted ear of a seed, as `cochlear synthesize --implant` does."""
        write_ear(self._ear(seed), self.anatomy.atlas_meshes_ijk, self.anatomy.frame, to)

    def synthesize_crop(self, seed: int, to: Path) -> None:
        """Write the implanted ear of a seed as a prepared crop, in the pose in which it was drawn."""
        ear, affine = self._ear(seed), self.anatomy.frame.affine_ras
        write_nifti(to / IMAGE, self.anatomy.intensity.apply(ear.image_hu), affine)
        (to / TRUTH).mkdir()
        for name, mesh in self.anatomy.atlas_meshes_ijk.items():
            surface_ras = mesh.with_vertices(ear.vertices_ijk[name]).transformed(affine, "ras")
            write_mesh(to_space(surface_ras, "lps"), to / TRUTH / f"{name}.vtk", title=name)

    def _ear(self, seed: int) -> SyntheticEar:
        options = EarOptions(implant_share=1.0, with_ddf=False)
        return synthesize_ear(self.anatomy.atlas_meshes_ijk, seed, options, self._template)

    def insert_array(self, ear: Path, number: int, to: Path) -> None:
        """Write a real ear with an electrode array and its artifact.

        The scalae of real ears are not labelled. The array follows the scala tympani that the model finds in the image
        without metal; the truth stays the expert's label.
        """
        request = StudyCase("", ear.name, ear, ear / LANDMARKS).request(self.anatomy)
        to_ijk = request.alignment.ras_to_canonical
        surfaces = self._network.segment(request).meshes_ras
        meshes = {name: mesh.transformed(to_ijk, "ijk") for name, mesh in surfaces.items()}
        seed = int(np.random.SeedSequence([_ARRAY_STREAM, *ear.name.encode(), number]).generate_state(1)[0])
        maker = MAKERS[number % len(MAKERS)]
        implant = insert_implant(request.volume, meshes, request.alignment, seed, maker=maker)
        write_nifti(to / IMAGE, implant.image_hu, request.volume.affine, like=request.volume)
        (to / IMPLANT).write_text(json.dumps(implant.to_json(), indent=1) + "\n", encoding="utf-8")
        for name in (LABEL, LANDMARKS):
            shutil.copyfile(ear / name, to / name)
