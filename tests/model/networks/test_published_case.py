"""The tiny recorded case: the network and samplers still compute what they did when compared with the release."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_case import GRID, RECORD, compute, make_images, make_network

from model.networks.published import PublishedRegistrationNet


@pytest.mark.parametrize("name", ["ddf", "published", "trilinear"])
def test_result_is_as_recorded(name: str) -> None:
    with np.load(RECORD) as recorded:
        expected = recorded[name]
    assert np.ptp(expected) > 1.0
    np.testing.assert_allclose(compute()[name], expected, atol=1e-4)


def test_field_varies_along_every_axis_and_channel() -> None:
    ddf = compute()["ddf"]
    assert ddf.shape == (3, *GRID)
    assert all(ddf.std(axis=axis).mean() > 0.01 for axis in range(4))


def test_atlas_activation_stands_for_atlas_image() -> None:
    network = make_network()
    patient, atlas = make_images()
    with torch.no_grad():
        activation = network.first_activation(torch.zeros_like(patient), atlas)
        assert torch.allclose(network(patient, activation), network(patient, atlas), atol=1e-5)


def test_batch_equals_one_by_one() -> None:
    network = make_network()
    patient, atlas = make_images()
    patients = torch.cat([patient, patient.flip(2), patient.square()])
    with torch.no_grad():
        together = network(patients, atlas.expand(3, -1, -1, -1, -1))
        alone = torch.cat([network(image[None], atlas) for image in patients])
    assert torch.allclose(together, alone, atol=1e-5)


def test_default_size_is_the_published_one() -> None:
    with torch.device("meta"):
        network = PublishedRegistrationNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_836_838


def test_gradients_reach_every_parameter() -> None:
    network = make_network().train()
    patient, atlas = make_images()
    network(patient, atlas).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(
    ("patient", "atlas"),
    [
        ((1, 1, 8, 8, 8), (1, 3, 8, 8, 8)),
        ((1, 2, 8, 8, 8), (1, 1, 8, 8, 8)),
        ((1, 1, 8, 8, 8), (1, 1, 8, 8, 12)),
        ((1, 1, 8, 8, 10), (1, 1, 8, 8, 10)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(patient: tuple[int, ...], atlas: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_network()(torch.zeros(patient), torch.zeros(atlas))


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="base_width"):
        PublishedRegistrationNet(base_width=1)
