"""What ears are made of: an atlas with or without shape modes, or real ears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.geometry.frame import CanonicalFrame
from model.meshes.mesh import SurfaceMesh
from model.synthesis.ear import EarOptions, SyntheticEar, synthesize_ear
from model.synthesis.real_ear import Background, change_real_ear
from model.synthesis.template import TissueTemplate, build_template

_CHOICE_STREAM = 8


@dataclass(frozen=True)
class Anatomy:
    """Where the anatomy of made ears comes from.

    Attributes:
        meshes_ijk: surfaces of the atlas by structure id, canonical ijk.
        frame: the canonical frame with the landmarks of the atlas.
        modes: (M, 3, g, g, g) shape modes, see `random_deformation`, or None.
        backgrounds: real ears; when there are any, ears are made of them instead of the atlas.
    """

    meshes_ijk: Mapping[str, SurfaceMesh]
    frame: CanonicalFrame
    modes: npt.NDArray[np.floating] | None = None
    backgrounds: tuple[Background, ...] = ()

    @cached_property
    def _template(self) -> TissueTemplate:
        return build_template(self.meshes_ijk)

    def make(self, seed: int, implant_share: float) -> tuple[SyntheticEar, CanonicalFrame]:
        """Make the ear of a seed.

        Args:
            seed: decides everything; of real ears also which one.
            implant_share: share of ears with an implant, 0 to 1.

        Returns:
            The ear at 0.2 mm, and the frame with the landmarks that its deformation carries along.
        """
        options = EarOptions(implant_share=implant_share, modes=self.modes, with_ddf=False)
        if not self.backgrounds:
            return synthesize_ear(self.meshes_ijk, seed, options, self._template), self.frame
        number = int(np.random.default_rng([seed, _CHOICE_STREAM]).integers(len(self.backgrounds)))
        chosen = self.backgrounds[number]
        return change_real_ear(chosen, seed, options), chosen.frame(self.frame)
