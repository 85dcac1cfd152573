"""Intensity registration of the atlas image to the patient by elastix: affine, then B-spline.

Sources: S. Klein et al., "elastix: a toolbox for intensity-based medical image registration", IEEE TMI 29 (2010) 196;
mutual information: D. Mattes et al., IEEE TMI 22 (2003) 120; bending energy: D. Rueckert et al., IEEE TMI 18 (1999)
712; optimiser: S. Klein et al., IJCV 81 (2009) 227. The package itk-elastix is the optional extra `elastix`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from model.errors import RunError
from model.masks.voxelize import voxelize
from model.meshes.mesh import SurfaceMesh

FloatImage = npt.NDArray[np.float32]
BoolImage = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ElastixSettings:
    """How elastix runs; lengths in millimetres. The defaults were chosen on the training ears.

    Attributes:
        region_mm: the atlas image is compared within this distance of the labyrinth.
        affine_resolutions: levels of the image pyramid of the affine stage.
        affine_iterations: steps at each of them.
        grid_mm: distance of the B-spline's control points at the last level, twice as much at each level before.
        resolutions: levels of the image pyramid of the B-spline stage.
        iterations: steps at each of them.
        bins: of the joint histogram.
        samples: voxels drawn anew at each step.
        bending: weight of the bending energy; mutual information has weight 1.
        metal_margin_mm: the patient image within this distance of metal is left out; negative takes it as it is.
        seed: of the draws.
    """

    region_mm: float = 3.0
    affine_resolutions: int = 2
    affine_iterations: int = 250
    grid_mm: float = 1.4
    resolutions: int = 3
    iterations: int = 250
    bins: int = 32
    samples: int = 4096
    bending: float = 0.1
    metal_margin_mm: float = -1.0
    seed: int = 1

    def affine_map(self) -> dict[str, list[str]]:
        """Give the parameter map of the affine stage."""
        return self._common(self.affine_resolutions, self.affine_iterations) | {
            "Transform": ["AffineTransform"],
            "Registration": ["MultiResolutionRegistration"],
            "Metric": ["AdvancedMattesMutualInformation"],
            "AutomaticScalesEstimation": ["true"],
            # The landmarks have placed the ear.
            "AutomaticTransformInitialization": ["false"],
        }

    def bspline_map(self) -> dict[str, list[str]]:
        """Give the parameter map of the B-spline stage."""
        return self._common(self.resolutions, self.iterations) | {
            "Transform": ["RecursiveBSplineTransform"],
            "Registration": ["MultiMetricMultiResolutionRegistration"],
            "Metric": ["AdvancedMattesMutualInformation", "TransformBendingEnergyPenalty"],
            "Metric0Weight": ["1.0"],
            "Metric1Weight": [repr(self.bending)],
            "FinalGridSpacingInPhysicalUnits": [repr(self.grid_mm)],
            "GridSpacingSchedule": [repr(2.0**level) for level in range(self.resolutions - 1, -1, -1)],
        }

    def _common(self, resolutions: int, iterations: int) -> dict[str, list[str]]:
        """Give what both stages share; spacings are isotropic, so pyramids halve all axes alike."""
        return {
            "FixedImagePyramid": ["FixedSmoothingImagePyramid"],
            "MovingImagePyramid": ["MovingSmoothingImagePyramid"],
            "NumberOfResolutions": [str(resolutions)],
            "MaximumNumberOfIterations": [str(iterations)],
            "Optimizer": ["AdaptiveStochasticGradientDescent"],
            "AutomaticParameterEstimation": ["true"],
            "NumberOfHistogramBins": [str(self.bins)],
            "ImageSampler": ["RandomCoordinate"],
            "NumberOfSpatialSamples": [str(self.samples)],
            "NewSamplesEveryIteration": ["true"],
            "CheckNumberOfSamples": ["true"],
            "MaximumNumberOfSamplingAttempts": ["8"],
            "Interpolator": ["LinearInterpolator"],
            "ResampleInterpolator": ["FinalLinearInterpolator"],
            "Resampler": ["DefaultResampler"],
            "WriteResultImage": ["false"],
            "HowToCombineTransforms": ["Compose"],
            "RandomSeed": [str(self.seed)],
            "UseDirectionCosines": ["true"],
            # The masks keep what was not measured out; eroding them as well would leave little of a small scan.
            "ErodeMask": ["false"],
        }


def load_elastix() -> ModuleType:
    """Give the `itk` package with elastix in it.

    Raises:
        RunError: itk-elastix is not installed.
    """
    elastix_version()
    return import_module("itk")


def elastix_version() -> str:
    """Give the version of itk-elastix.

    Raises:
        RunError: it is not installed.
    """
    try:
        return version("itk-elastix")
    except PackageNotFoundError as error:
        hint = "pip install cochlear[elastix]"
        raise RunError("elastix is not installed", expected="the package itk-elastix", hint=hint) from error


def atlas_region(
    labyrinth_ijk: SurfaceMesh, grid: tuple[int, int, int], spacing_mm: float, reach_mm: float
) -> BoolImage:
    """Mark the voxels of the canonical crop that lie in the labyrinth or within some distance of it."""
    away_mm = distance_transform_edt(~voxelize(labyrinth_ijk, grid), sampling=spacing_mm)
    return np.asarray(away_mm <= reach_mm)


def away_from_metal(image: FloatImage, spacing_mm: float, margin_mm: float) -> BoolImage:
    """Mark the voxels of a canonical image, values in [-1, 1], that lie further than a margin from metal.

    What reaches the upper end of the values counts as metal. A negative margin marks everything.
    """
    metal = image >= 1.0
    if margin_mm < 0 or not metal.any():
        return np.ones(image.shape, dtype=bool)
    return np.asarray(distance_transform_edt(~metal, sampling=spacing_mm) > margin_mm)


def register(
    atlas: FloatImage,
    patient: FloatImage,
    atlas_mask: BoolImage,
    patient_mask: BoolImage,
    spacing_mm: float,
    settings: ElastixSettings,
) -> FloatImage:
    """Register two images on one grid.

    elastix seeks the map from points of the fixed image to those of the moving one. The atlas is the fixed image, so
    the map carries atlas points into the patient and needs no inversion.

    Args:
        atlas: [i, j, k] fixed image.
        patient: [i, j, k] moving image.
        atlas_mask: where the atlas is compared.
        patient_mask: where the patient image says something.
        spacing_mm: edge of a voxel.
        settings: how to register.

    Returns:
        (3, I, J, K) displacement in voxels, channel c along axis c: an atlas point p lies at p + ddf(p) in the patient.

    Raises:
        RunError: elastix is not installed or gave up.
    """
    itk = load_elastix()
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(settings.affine_map())
    parameters.AddParameterMap(settings.bspline_map())
    moving = _itk_image(itk, patient.astype(np.float32), spacing_mm)
    with TemporaryDirectory() as folder:  # elastix writes the field besides giving it
        try:
            _, transform = itk.elastix_registration_method(
                _itk_image(itk, atlas.astype(np.float32), spacing_mm),
                moving,
                parameter_object=parameters,
                fixed_mask=_itk_image(itk, atlas_mask.astype(np.uint8), spacing_mm),
                moving_mask=_itk_image(itk, patient_mask.astype(np.uint8), spacing_mm),
                number_of_threads=1,
                log_to_console=False,
                output_directory=folder,
            )
            field = itk.transformix_deformation_field(moving, transform, output_directory=folder)
        except RuntimeError as error:
            raise RunError("elastix gave up", hint="the ear may lie outside the field of view") from error
        vectors_mm = np.array(itk.array_from_image(field), dtype=np.float32)
    # ITK's arrays are indexed [k, j, i]; the components of its vectors run along i, j, k.
    return np.ascontiguousarray(vectors_mm.transpose(3, 2, 1, 0)) / np.float32(spacing_mm)


def _itk_image(itk: ModuleType, values: npt.NDArray[Any], spacing_mm: float) -> Any:  # noqa: ANN401 - itk has no types
    """Give an array [i, j, k] as an ITK image with voxel 0 at the origin."""
    image = itk.image_from_array(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing([spacing_mm] * 3)
    return image
