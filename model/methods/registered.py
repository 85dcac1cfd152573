"""The atlas carried into the patient by elastix."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
from scipy.ndimage import map_coordinates

from model.bundle import Bundle
from model.methods.elastix import ElastixSettings, atlas_region, away_from_metal, elastix_version, register
from model.methods.method import MethodResult, digest_of
from model.request import CheckedRequest
from model.structures import LABYRINTH


@dataclass(frozen=True)
class Elastix:
    """Registration of the atlas image by elastix, after the same alignment by landmarks as the networks.

    Attributes:
        bundle: its atlas with its image.
        settings: how elastix runs.
        name: what tables call it.
    """

    bundle: Bundle
    settings: ElastixSettings = field(default_factory=ElastixSettings)
    name: str = "elastix"

    @property
    def digest(self) -> str:
        """See `Method`; the version of itk-elastix counts too.

        Raises:
            RunError: elastix is not installed.
        """
        settings = asdict(self.settings)
        return digest_of(method="elastix", bundle=self.bundle.digest, settings=settings, elastix=elastix_version())

    def segment(self, request: CheckedRequest) -> MethodResult:
        """Register the ear; see `Method`.

        Raises:
            BundleError: the bundle has no atlas image.
            RunError: elastix is not installed or gave up.
        """
        frame = self.bundle.frame
        image, seen = request.canonical_image(frame, self.bundle.intensity)
        labyrinth = self.bundle.atlas_meshes_ijk[LABYRINTH.id]
        region = atlas_region(labyrinth, frame.grid, frame.spacing_mm, self.settings.region_mm)
        shown = seen & away_from_metal(image, frame.spacing_mm, self.settings.metal_margin_mm)
        ddf = register(self.bundle.atlas_image(), image, region, shown, frame.spacing_mm, self.settings)
        moved = {}
        for name, mesh in self.bundle.atlas_meshes_ijk.items():
            steps = [map_coordinates(channel, mesh.vertices.T, order=1, mode="nearest") for channel in ddf]
            moved[name] = mesh.with_vertices(mesh.vertices + np.stack(steps, axis=1))
        return MethodResult(
            {name: mesh.transformed(request.alignment.canonical_to_ras, "ras") for name, mesh in moved.items()}, ddf
        )
