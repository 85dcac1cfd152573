"""The weighted sum: every term by its own function, only the terms asked for, and clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from model.errors import InputError
from model.losses.chamfer import chamfer, chamfer_of_structures
from model.losses.fields import bending, folding, roughness, smoothness
from model.losses.images import lncc, mse, ncc
from model.losses.overlap import dice_loss
from model.losses.points import point_to_plane, point_to_point
from model.losses.weighted import DATA_TERMS, FIELD_TERMS, LossWeights, Prediction, Target, WeightedLoss

COUNTS = {"modiolus": 6, "scala_tympani": 9, "labyrinth": 5}


def random(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def case() -> tuple[Prediction, Target]:
    """Everything that any term needs."""
    points = 10 * random(0, 2, 20, 3)
    prediction = Prediction(
        points=points,
        counts=COUNTS,
        fields=[random(1, 2, 3, 4, 5, 4), random(2, 2, 3, 4, 5, 4)],
        field_spacing=2.0,
        warped_image=random(3, 2, 1, 6, 5, 4),
        warped_masks=random(4, 2, 3, 6, 5, 4).sigmoid(),
    )
    target = Target(
        points=points + random(5, 2, 20, 3),
        corresponding=True,
        normals=torch.nn.functional.normalize(random(6, 2, 20, 3), dim=-1),
        atlas_image=random(7, 2, 1, 6, 5, 4),
        masks=random(8, 2, 3, 6, 5, 4).sigmoid().round(),
    )
    return prediction, target


def expected_terms(prediction: Prediction, target: Target) -> dict[str, Tensor]:
    """Every term from its own function, concatenated points, in voxels."""
    points, image, atlas = target.points, prediction.warped_image, target.atlas_image
    assert isinstance(points, Tensor)
    assert isinstance(target.normals, Tensor)
    assert image is not None
    assert atlas is not None
    assert prediction.warped_masks is not None
    assert target.masks is not None
    fields = {"smoothness": smoothness, "roughness": roughness, "bending": bending, "folding": folding}
    return {
        "chamfer": chamfer(prediction.points, points),
        "point_to_point": point_to_point(prediction.points, points, smoothing=1e-6),
        "point_to_plane": point_to_plane(prediction.points, points, target.normals),
        "dice": dice_loss(prediction.warped_masks, target.masks),
        "mse": mse(image, atlas),
        "ncc": 1 - ncc(image, atlas),
        "lncc": 1 - lncc(image, atlas, window=3),
        **{name: torch.stack([measure(f, 2.0) for f in prediction.fields]).sum() for name, measure in fields.items()},
    }


WEIGHTS = st.fixed_dictionaries(dict.fromkeys((*DATA_TERMS, *FIELD_TERMS), st.sampled_from([0.0, 0.0, 0.5, 4.0])))


@settings(max_examples=25, deadline=None)
@given(WEIGHTS)
def test_the_loss_is_the_weighted_sum_of_the_terms_asked_for(weights: dict[str, float]) -> None:
    if not any(weights[name] for name in DATA_TERMS):
        with pytest.raises(ValidationError, match="above zero"):
            LossWeights(**weights)  # type: ignore[arg-type]
        return
    prediction, target = case()
    loss = WeightedLoss(LossWeights(**weights, lncc_window=3))  # type: ignore[arg-type]
    total, parts = loss(prediction, target)
    assert set(parts) == {name for name, weight in weights.items() if weight}
    expected = expected_terms(prediction, target)
    for name, part in parts.items():
        torch.testing.assert_close(part, expected[name])
    assert total.item() == pytest.approx(sum(weights[name] * expected[name].item() for name in parts))
    halves = loss.data(prediction, target)[0] + loss.regularity(prediction)[0]
    torch.testing.assert_close(total, halves)


def test_terms_not_asked_for_need_nothing() -> None:
    prediction, target = case()
    bare = Prediction(points=prediction.points, counts=COUNTS)
    total, parts = WeightedLoss(LossWeights(chamfer=2))(bare, Target(points=target.points, corresponding=False))
    assert list(parts) == ["chamfer"]
    torch.testing.assert_close(total, 2 * chamfer(prediction.points, target.points))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("term", "change_prediction", "change_target", "words"),
    [
        ("point_to_point", {}, {"corresponding": False}, "point_to_point needs true points that correspond"),
        ("point_to_plane", {}, {"corresponding": False}, "point_to_plane needs true points that correspond"),
        ("point_to_plane", {}, {"normals": None}, "point_to_plane needs normals"),
        ("dice", {"warped_masks": None}, {}, "dice needs masks"),
        ("dice", {}, {"masks": None}, "dice needs masks"),
        ("mse", {"warped_image": None}, {}, "mse needs the images"),
        ("ncc", {}, {"atlas_image": None}, "ncc needs the images"),
        ("lncc", {}, {"atlas_image": None}, "lncc needs the images"),
        ("bending", {"fields": ()}, {}, "bending needs displacement fields"),
    ],
)
def test_a_term_that_lacks_what_it_needs_is_named(
    term: str, change_prediction: dict[str, object], change_target: dict[str, object], words: str
) -> None:
    prediction, target = case()
    loss = WeightedLoss(LossWeights(**({"chamfer": 1.0} | {term: 1.0})))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=words):
        loss(replace(prediction, **change_prediction), replace(target, **change_target))  # type: ignore[arg-type]


@pytest.mark.parametrize("concatenated", [True, False])
def test_missing_structures_are_left_out(concatenated: bool) -> None:
    prediction, target = case()
    prediction = replace(prediction, points=prediction.points[:1])
    assert isinstance(target.points, Tensor)
    true = {"modiolus": target.points[0, :6], "labyrinth": target.points[0, 15:]}  # (M, 3): a batch of one
    partial = Target(points=true, corresponding=True)
    weights = LossWeights(chamfer=1, point_to_point=1, concatenated=concatenated)
    _, parts = WeightedLoss(weights)(prediction, partial)
    predicted = {"modiolus": prediction.points[:, :6], "labyrinth": prediction.points[:, 15:]}
    batched = {name: points[None] for name, points in true.items()}
    torch.testing.assert_close(parts["chamfer"], chamfer_of_structures(predicted, batched, concatenated))
    means = torch.stack([(predicted[name] - batched[name]).norm(dim=-1).mean() for name in true])
    share = torch.tensor([6 / 11, 5 / 11] if concatenated else [0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(parts["point_to_point"], (means * share).sum(), atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="every predicted point of labyrinth"):
        WeightedLoss(weights)(prediction, replace(partial, points=true | {"labyrinth": true["labyrinth"][1:]}))
    with pytest.raises(InputError, match="no structure has true points"):
        WeightedLoss(weights)(prediction, replace(partial, points={}))


def test_lengths_in_millimetres() -> None:
    prediction, target = case()
    for squared in (False, True):
        weights = LossWeights(chamfer=1, point_to_point=1, point_to_plane=1, point_to_point_squared=squared)
        (_, voxels), (_, mm) = (WeightedLoss(weights, spacing_mm=s)(prediction, target) for s in (1.0, 0.2))
        powers = {"chamfer": 2, "point_to_point": 2 if squared else 1, "point_to_plane": 1}
        for name, power in powers.items():
            assert mm[name].item() == pytest.approx(voxels[name].item() * 0.2**power)
    assert isinstance(target.points, Tensor)
    mean_square = (prediction.points - target.points).square().sum(-1).mean()
    torch.testing.assert_close(voxels["point_to_point"], mean_square)  # as the published program measures it


@pytest.mark.parametrize("concatenated", [True, False])
def test_chamfer_points_are_drawn_from_a_seed(concatenated: bool) -> None:
    prediction, target = case()
    loss = WeightedLoss(LossWeights(chamfer=1, chamfer_points=12, concatenated=concatenated))
    runs = [loss(prediction, target, torch.Generator().manual_seed(seed))[0].item() for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    enough = WeightedLoss(LossWeights(chamfer=1, chamfer_points=60, concatenated=concatenated))
    assert enough(prediction, target)[0].item() == enough(prediction, target)[0].item()


def test_every_drawn_point_is_a_point_of_its_side() -> None:
    # The sides lie far apart: a distance between a point and its own side would be seen.
    points = torch.zeros(1, 20, 3, dtype=torch.float64)
    prediction = Prediction(points=points, counts=COUNTS)
    target = Target(points={"labyrinth": points[0] + torch.tensor([3.0, 4.0, 0.0])}, corresponding=False)
    total, _ = WeightedLoss(LossWeights(chamfer=1, chamfer_points=3))(prediction, target)
    assert total.item() == pytest.approx(2 * 25)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"smoothness": 1},
        {"chamfer": -1},
        {"chamfer": float("inf")},
        {"chamfer": 1, "lncc_window": 4},
        {"chamfer": 1, "chamfer_points": 0},
        {"chamfer": 1, "surprise": 1},
        {"chamfer": 1, "dice_by": "surface"},
        {"dice": 1, "dice_by": "volume"},
    ],
)
def test_weights_that_make_no_loss_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LossWeights(**values)  # type: ignore[arg-type]


def test_a_setting_left_alone_is_not_stated() -> None:
    """Records of runs that were begun without it stay equal."""
    assert "dice_by" not in LossWeights(dice=1).model_dump(mode="json")
    chosen = LossWeights(dice=1, dice_by="surface")
    assert chosen.model_dump(mode="json")["dice_by"] == "surface"
    assert LossWeights(**chosen.model_dump()) == chosen


def test_the_loss_moves_every_point_by_descent() -> None:
    prediction, target = case()
    points = prediction.points.clone().requires_grad_()
    loss = WeightedLoss(LossWeights(chamfer=1, point_to_point=1, point_to_plane=1))
    before, _ = loss(replace(prediction, points=points), target)
    (gradient,) = torch.autograd.grad(before, points)
    assert (gradient.norm(dim=-1) > 0).all()
    after, _ = loss(replace(prediction, points=points - 0.1 * gradient), target)
    assert after < before
