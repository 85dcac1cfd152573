"""A network started from an earlier one does what that one did."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.errors import InputError
from model.networks.coarse_to_fine import CoarseToFineNet
from model.training.initial import start_from

SIZE: dict[str, Any] = {"grid": 20, "region": (2, 17), "samples": 16, "passes": 2}


def earlier() -> CoarseToFineNet:
    """Give a network whose fields are not zero."""
    torch.manual_seed(0)
    network = CoarseToFineNet(**SIZE, widths=(8, 8), finest=1)
    for head in network.field_net.heads:
        torch.nn.init.normal_(head.weight, std=0.2)  # type: ignore[arg-type]
    return network.eval()


@pytest.mark.parametrize(("finest", "stack"), [(1, 1), (0, 1), (1, 2), (0, 2)])
def test_more_samples_and_a_finer_scale_start_from_the_same_fields(finest: int, stack: int) -> None:
    given = earlier()
    network = CoarseToFineNet(**{**SIZE, "passes": 1}, widths=(8, 8), finest=finest, stack=stack).eval()
    given.passes = 1
    start_from(network, given)
    # Cells of equal samples: the finer view of an image that is constant within them.
    cells = [torch.rand(1, 1, 16, 16, 16) for _ in range(2)]
    finer = [torch.nn.functional.interpolate(image, scale_factor=stack, mode="nearest") for image in cells]
    with torch.no_grad():
        expected, found = given.fields(cells[0], cells[1]), network.fields(finer[0], finer[1])
    assert float(expected[0].abs().max()) > 0.05
    # Fresh heads of the finer scale give nothing yet.
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-4)


def test_other_networks_are_refused_by_the_weights() -> None:
    for widths, finest in (((8, 16), 1), ((16, 8), 1), ((8,), 0)):
        network = CoarseToFineNet(**SIZE, widths=widths, finest=finest)
        with pytest.raises(InputError, match=r"initial: .*field_net"):
            start_from(network, earlier())
    finer = CoarseToFineNet(**SIZE, widths=(8, 8), finest=0)
    with pytest.raises(InputError, match="field_net"):
        start_from(CoarseToFineNet(**SIZE, widths=(8, 8), finest=1), finer)
