"""CT numbers of one ear before the scanner: the deformed labyrinth in its temporal bone.

Every voxel is a mixture of tissues by its distance to their borders. Values: otic capsule 1500..2400 HU, fluid
0..250 HU, drained specimens -1000..-600 HU, modiolus and septa between, as in clinical CT of temporal bones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from model.synthesis.deformation import Deformation
from model.synthesis.grid import Float32Array, RenderGrid
from model.synthesis.splines import SplineField, linear_upsampling, sample, upsample
from model.synthesis.surroundings import Surroundings, build_surroundings
from model.synthesis.template import TissueTemplate

_FINE = RenderGrid(1)
_COARSE = RenderGrid(2)
_MARGIN_MM = 0.7


@dataclass(frozen=True)
class TissueParameters:
    """CT numbers (HU) and properties of one ear.

    Attributes:
        bone: petrous bone far from the labyrinth.
        capsule: what the otic capsule has above `bone` near the labyrinth.
        texture: standard deviation of slow variations within bone.
        fluid: content of the labyrinth (perilymph, or air in drained specimens).
        modiolus: spongy modiolus; septa: bone between the turns.
        marrow, soft, nerve, outside, air, ossicles: surroundings.
        pneumatisation: 0 compact, 1 cells everywhere.
        drained: whether labyrinth and nerve canal hold air.
    """

    bone: float
    capsule: float
    texture: float
    fluid: float
    modiolus: float
    septa: float
    marrow: float
    soft: float
    nerve: float
    outside: float
    air: float
    ossicles: float
    pneumatisation: float
    drained: bool

    def to_json(self) -> dict[str, float | bool]:
        """Give the parameters by name."""
        return asdict(self)


def random_tissue(rng: np.random.Generator, drained_share: float = 0.4) -> TissueParameters:
    """Draw CT numbers of one ear.

    Args:
        rng: source of randomness.
        drained_share: share of ears whose labyrinth holds air, as in stored specimens.
    """
    drained = bool(rng.uniform() < drained_share)
    patient = not drained and rng.uniform() < 0.5
    opaque_ear = rng.uniform() < 0.15
    soft = rng.uniform(0, 120)
    return TissueParameters(
        bone=rng.uniform(1500, 2100),
        capsule=rng.uniform(50, 400),
        texture=rng.uniform(40, 160),
        fluid=rng.uniform(-1000, -600) if drained else rng.uniform(0, 260),
        modiolus=rng.uniform(250, 1100),
        septa=rng.uniform(700, 1700),
        marrow=rng.uniform(200, 1100),
        soft=soft,
        nerve=rng.uniform(-1000, -700) if drained or rng.uniform() < 0.2 else rng.uniform(0, 100),
        outside=rng.uniform(0, 80) if patient or rng.uniform() < 0.3 else rng.uniform(-1000, -900),
        air=soft if opaque_ear else rng.uniform(-1000, -900),
        ossicles=rng.uniform(900, 2000),
        pneumatisation=float(rng.beta(1.6, 1.6)),
        drained=drained,
    )


def render_tissue(
    template: TissueTemplate,
    deformation: Deformation,
    parameters: TissueParameters,
    rng: np.random.Generator,
    grid: RenderGrid,
) -> Float32Array:
    """Give the (n, n, n) HU volume of a deformed ear, not yet blurred, noisy or clipped.

    Args:
        template: distances of the atlas.
        deformation: the map from the atlas to the ear.
        parameters: CT numbers.
        rng: source of randomness of the surroundings and textures.
        grid: where to render; the surroundings are drawn at 0.4 mm at the finest.
    """
    coarse = grid if grid.factor >= _COARSE.factor else _COARSE
    coarse_points = deformation.to_atlas(coarse)
    labyrinth = sample(template.fields[:1], coarse_points)[0]
    around = build_surroundings(rng, coarse_points, labyrinth, coarse, parameters.pneumatisation)
    texture = _texture(rng, coarse)
    stack = np.stack([labyrinth, texture, *_ordered(around)])
    if coarse != grid:
        weights = linear_upsampling(coarse.centres, grid.centres)
        stack = upsample(stack, weights, weights, weights)
    hu = _bone(stack[0], stack[1], parameters)
    values = (
        parameters.marrow,
        parameters.outside,
        parameters.air,
        parameters.soft,
        parameters.nerve,
        parameters.ossicles,
    )
    for distance, value in zip(stack[2:], values, strict=True):
        _mix(hu, _share(distance, grid), value)
    _fill_labyrinth(hu, stack[0], template, deformation, parameters, grid)
    return hu


def _ordered(around: Surroundings) -> tuple[Float32Array, ...]:
    """Give the surroundings in the order in which they replace each other."""
    return around.marrow, around.outside, around.air, around.soft, around.nerve, around.ossicles


def _texture(rng: np.random.Generator, grid: RenderGrid) -> Float32Array:
    """Give slow variations of unit variance."""
    noise = np.zeros((grid.size,) * 3, dtype=np.float32)
    for scale, weight in ((6.0, 0.8), (20.0, 0.6)):
        nodes = int(128 / scale) + 5
        field = SplineField(rng.standard_normal((1, nodes, nodes, nodes)) * 3.0, -1.5 * scale, scale)
        noise += weight * field.on_axes(grid.centres)[0]
    return noise


def _bone(labyrinth: Float32Array, texture: Float32Array, parameters: TissueParameters) -> Float32Array:
    """Give bone everywhere: densest in the otic capsule, 1.5 to 2 mm round the labyrinth."""
    capsule = parameters.capsule * np.exp(-(np.clip(labyrinth - 0.3, 0.0, None) ** 2) / np.float32(1.2**2))
    return np.asarray(parameters.bone + capsule + parameters.texture * texture, dtype=np.float32)


def _share(distance: Float32Array, grid: RenderGrid) -> Float32Array:
    """Give the share of a voxel inside a border at a signed distance from its centre (mm)."""
    return np.asarray(np.clip(0.5 - distance / np.float32(grid.spacing_mm), 0.0, 1.0), dtype=np.float32)


def _mix(hu: Float32Array, share: Float32Array, value: float) -> None:
    """Replace a share of every voxel by a value, in place."""
    hu += share * (np.float32(value) - hu)


def _fill_labyrinth(
    hu: Float32Array,
    labyrinth: Float32Array,
    template: TissueTemplate,
    deformation: Deformation,
    parameters: TissueParameters,
    grid: RenderGrid,
) -> None:
    """Put fluid, modiolus and septa into the labyrinth, in place, within its bounding box.

    Its walls and septa are thinner than coarse voxels, so it is drawn at 0.2 mm and averaged.
    """
    near = np.argwhere(labyrinth < _MARGIN_MM)
    low, high = near.min(axis=0), near.max(axis=0) + 1
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    fine_box = (
        slice(low[0] * grid.factor, high[0] * grid.factor),
        slice(low[1] * grid.factor, high[1] * grid.factor),
        slice(low[2] * grid.factor, high[2] * grid.factor),
    )
    fields = sample(template.fields, deformation.to_atlas(_FINE, fine_box))
    inside, modiolus, tympani, vestibuli = (_share(distance, _FINE) for distance in fields[:4])
    scalae = np.minimum(tympani + vestibuli, 1.0)
    modiolus *= 1.0 - scalae
    septa = fields[4] * (1.0 - scalae) * (1.0 - modiolus)
    content = np.full(inside.shape, np.float32(parameters.fluid))
    _mix(content, septa, parameters.septa)
    _mix(content, modiolus, parameters.modiolus)
    # The modiolus reaches below the label of the labyrinth, into the fundus of the nerve canal.
    inside = np.maximum(inside, modiolus)
    hu[box] = hu[box] * (1.0 - _averaged(inside, grid)) + _averaged(inside * content, grid)


def _averaged(fine: Float32Array, grid: RenderGrid) -> Float32Array:
    """Average blocks of canonical voxels to voxels of a grid."""
    factor = grid.factor
    if factor == 1:
        return fine
    i, j, k = (length // factor for length in fine.shape)
    return np.asarray(fine.reshape(i, factor, j, factor, k, factor).mean(axis=(1, 3, 5)), dtype=np.float32)
