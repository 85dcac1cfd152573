"""What every kind of model gives of an ear, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.inference.stages import Stages
from model.meshes.mesh import SurfaceMesh
from model.request import CheckedRequest


@dataclass(frozen=True)
class RunOptions:
    """What of a model is run.

    Attributes:
        deform: False leaves the displacement at zero, which shows what rigid alignment alone gives.
        refine: False leaves out the refinement of the field against the image, where the model has one.
    """

    deform: bool = True
    refine: bool = True


@dataclass(frozen=True)
class Found:
    """The structures of an ear.

    Attributes:
        meshes_ras: closed surfaces in RAS mm by structure id, wound outward; those that were not found are missing.
        ddf_ijk: (3, I, J, K) float32 displacement of the atlas on the canonical grid; None for segmentation networks.
        probability: float32 [i, j, k] on the canonical grid by structure id, all structures of the model, in order;
            None for registration networks.
        warnings: what the user should know, in sentences.
    """

    meshes_ras: Mapping[str, SurfaceMesh]
    ddf_ijk: npt.NDArray[np.float32] | None = None
    probability: Mapping[str, npt.NDArray[np.float32]] | None = None
    warnings: tuple[str, ...] = ()


class Method(Protocol):
    """A loaded model."""

    def check(self, options: RunOptions) -> None:
        """Refuse options that the model does not have, before work starts.

        Raises:
            OptionError: the model has no such way to be run.
        """

    def find(
        self, request: CheckedRequest, image: npt.NDArray[np.float32], options: RunOptions, stages: Stages
    ) -> Found:
        """Find the structures of an ear.

        Args:
            request: the checked image with its alignment.
            image: float32 [i, j, k] in [-1, 1], the request's image on the canonical grid.
            options: what of the model is run.
            stages: takes the time of the model's stages.
        """
