"""How a model wants CT values: the intensity rule of a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.errors import BundleError, ImageError

STORED_LOW, STORED_HIGH, STORED_TOLERANCE = -1.0, 1.0, 1e-3
"""Range of prepared intensities, and how far rounding may carry a value beyond it."""


@dataclass(frozen=True)
class IntensityRule:
    """Maps image values to network input in [-1, 1].

    Attributes:
        rule: `hu_window` maps [low, high] HU linearly to [-1, 1] and clips; `min_max` does so with the lowest and the
            highest value of the image itself, each held within [low, high]; `as_stored` takes values that are in
            [-1, 1] already.
        low, high: the window, or the bounds of the extremes, in HU; -1 and 1 for `as_stored`.
        fill_hu: value (before the rule) given to what lies outside the field of view; the low end unless stated.
    """

    rule: Literal["hu_window", "min_max", "as_stored"]
    low: float
    high: float
    fill_hu: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> IntensityRule:
        """Read a rule as bundles state it.

        One of `{"rule": "hu_window", "low": -1000, "high": 2600[, "fill_hu": -1000]}`, `{"rule": "min_max", "low":
        -1024, "high": 3071}` and `{"rule": "as_stored"}`.

        Raises:
            BundleError: another rule, or a window that is not two finite numbers in rising order.
        """
        rule = document.get("rule")
        if rule == "as_stored":
            return cls("as_stored", STORED_LOW, STORED_HIGH, STORED_LOW)
        if rule not in ("hu_window", "min_max"):
            found = repr(rule)[:40]
            expected = "hu_window, min_max or as_stored"
            raise BundleError("unknown intensity rule", expected=expected, found=found, field="bundle")
        low, high = document.get("low"), document.get("high")
        fill = document.get("fill_hu", low) if rule == "hu_window" else low
        numbers = [value for value in (low, high, fill) if isinstance(value, int | float) and math.isfinite(value)]
        if len(numbers) != 3 or numbers[0] >= numbers[1]:
            expected = "finite numbers low < high, and fill_hu if any"
            raise BundleError("the intensity window cannot be used", expected=expected, field="bundle")
        return cls(rule, float(numbers[0]), float(numbers[1]), float(numbers[2]))

    def to_json(self) -> dict[str, Any]:
        """Give the rule as plain JSON values that `from_json` reads."""
        if self.rule == "as_stored":
            return {"rule": self.rule}
        if self.rule == "min_max":
            return {"rule": self.rule, "low": self.low, "high": self.high}
        return {"rule": self.rule, "low": self.low, "high": self.high, "fill_hu": self.fill_hu}

    def apply(self, values: npt.ArrayLike, inside: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float32]:
        """Map values to network input.

        Args:
            values: any shape; HU for `hu_window` and `min_max`.
            inside: where the values are the image's own, of the same shape; None for everywhere. Only there does
                `min_max` look for the extremes.

        Returns:
            float32 of the same shape, in [-1, 1].

        Raises:
            ImageError: the rule is `as_stored` and values lie outside [-1, 1], or it is `min_max` and they are all
                alike.
        """
        array = np.asarray(values, dtype=np.float32)
        if self.rule == "as_stored":
            if not in_stored_range(array):
                raise ImageError(
                    "this model takes intensities as stored",
                    expected="values from -1 to 1",
                    found=f"values from {array.min():g} to {array.max():g}",
                    hint="prepare the crop as the model asks, or choose a model that takes raw CT",
                    field="image",
                )
            return array
        low, high = self._extremes(array if inside is None else array[inside])
        scaled = (np.clip(array, low, high) - low) * (2.0 / (high - low)) - 1.0
        return np.asarray(scaled, dtype=np.float32)

    def _extremes(self, own: npt.NDArray[np.float32]) -> tuple[float, float]:
        """Give the values that become -1 and 1."""
        if self.rule == "hu_window":
            return self.low, self.high
        held = np.clip(own, self.low, self.high)
        low, high = (float(held.min()), float(held.max())) if held.size else (0.0, 0.0)
        if low >= high:
            raise ImageError(
                "the ear shows no contrast to scale",
                expected=f"different values from {self.low:g} to {self.high:g} HU where the ear lies",
                found="one value throughout" if own.size else "nothing of the ear in the image",
                field="image",
            )
        return low, high


def in_stored_range(values: npt.NDArray[np.float32]) -> bool:
    """Whether all values lie in [-1, 1], give or take rounding."""
    low, high = STORED_LOW - STORED_TOLERANCE, STORED_HIGH + STORED_TOLERANCE
    return bool(values.min() >= low and values.max() <= high)
