"""Networks by the names that bundles give them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_fixtures import write_sphere_bundle
from published_case import make_images
from pydantic import JsonValue

from model.bundle import load_bundle
from model.bundle.schema import NetworkSection
from model.errors import BundleError, DamagedBundleError
from model.networks.published import PublishedRegistrationNet
from model.networks.registry import (
    NETWORKS,
    REGISTRATION_NETWORKS,
    SEGMENTATION_NETWORKS,
    build_network,
    load_network,
)


def test_build_takes_parameters() -> None:
    section = NetworkSection(class_name="published_registration", parameters={"base_width": 4, "levels": 1})
    network = build_network(section)
    assert isinstance(network, PublishedRegistrationNet)
    assert network.base_width == 4


def test_section_reads_the_key_class() -> None:
    document = json.dumps({"class": "published_registration"})
    assert NetworkSection.model_validate_json(document).class_name == "published_registration"


@pytest.mark.parametrize(
    "section",
    [
        NetworkSection(class_name="unheard_of"),
        NetworkSection(class_name="published_registration", parameters={"depth": 3}),
        NetworkSection(class_name="published_registration", parameters={"base_width": 0}),
    ],
)
def test_unknown_network_or_parameters_are_refused(section: NetworkSection) -> None:
    with pytest.raises(BundleError):
        build_network(section)


def test_every_network_registers() -> None:
    sections: dict[str, dict[str, JsonValue]] = {
        "published_registration": {"base_width": 4, "levels": 1},
        "coarse_to_fine": {"grid": 16, "region": [0, 15], "samples": 16, "passes": 1, "widths": [8, 8], "finest": 0},
    }
    assert set(sections) == set(REGISTRATION_NETWORKS)
    for name, parameters in sections.items():
        network = build_network(NetworkSection(class_name=name, parameters=parameters)).eval()
        image = torch.zeros(2, 1, 16, 16, 16)
        with torch.no_grad():
            assert network(image, image).shape == (2, 3, 16, 16, 16)


def test_every_segmentation_network_segments() -> None:
    assert set(SEGMENTATION_NETWORKS) == {"segnet"}
    assert set(NETWORKS) == {*REGISTRATION_NETWORKS, *SEGMENTATION_NETWORKS}
    section = NetworkSection(class_name="segnet", parameters={"base_width": 2, "structures": 3, "factor": 2})
    with torch.no_grad():
        assert build_network(section)(torch.zeros(2, 1, 16, 8, 12)).shape == (2, 3, 16, 8, 12)


def test_load_gives_the_weights_of_the_bundle(tmp_path: Path) -> None:
    bundle = load_bundle(write_sphere_bundle(tmp_path, "spheres"))
    network = load_network(bundle)
    patient, _ = make_images()
    with torch.no_grad():
        ddf = network(patient, torch.from_numpy(bundle.atlas_input())[None])
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with np.load(Path(__file__).parent / "published_case.npz") as recorded:
        np.testing.assert_allclose(ddf[0].numpy(), recorded["ddf"], atol=1e-4)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    network = load_network(load_bundle(write_sphere_bundle(tmp_path, "half", half=True)))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    bundle = load_bundle(write_sphere_bundle(tmp_path, "odd", parameters={"base_width": 8, "levels": 2}))
    with pytest.raises(DamagedBundleError, match=r"weights\.safetensors"):
        load_network(bundle)
