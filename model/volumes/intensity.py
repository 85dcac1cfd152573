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
        rule: `hu_window` maps [low, high] HU linearly to [-1, 1] and clips; `as_stored` takes values that are in
            [-1, 1] already.
        low, high: the window in HU; -1 and 1 for `as_stored`.
        fill_hu: value (before the rule) given to what lies outside the field of view; the low end unless stated.
    """

    rule: Literal["hu_window", "as_stored"]
    low: float
    high: float
    fill_hu: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> IntensityRule:
        """Read `{"rule": "hu_window", "low": -1000, "high": 2600[, "fill_hu": -1000]}` or `{"rule": "as_stored"}`.

        Raises:
            BundleError: another rule, or a window that is not two finite numbers in rising order.
        """
        rule = document.get("rule")
        if rule == "as_stored":
            return cls("as_stored", STORED_LOW, STORED_HIGH, STORED_LOW)
        if rule != "hu_window":
            found = repr(rule)[:40]
            raise BundleError("unknown intensity rule", expected="hu_window or as_stored", found=found, field="bundle")
        low, high = document.get("low"), document.get("high")
        fill = document.get("fill_hu", low)
        numbers = [value for value in (low, high, fill) if isinstance(value, int | float) and math.isfinite(value)]
        if len(numbers) != 3 or numbers[0] >= numbers[1]:
            expected = "finite numbers low < high, and fill_hu if any"
            raise BundleError("the intensity window cannot be used", expected=expected, field="bundle")
        return cls("hu_window", float(numbers[0]), float(numbers[1]), float(numbers[2]))

    def to_json(self) -> dict[str, Any]:
        """Give the rule as plain JSON values that `from_json` reads."""
        if self.rule == "as_stored":
            return {"rule": self.rule}
        return {"rule": self.rule, "low": self.low, "high": self.high, "fill_hu": self.fill_hu}

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Map values to network input.

        Args:
            values: any shape; HU for `hu_window`.

        Returns:
            float32 of the same shape, in [-1, 1].

        Raises:
            ImageError: the rule is `as_stored` and values lie outside [-1, 1].
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
        scaled = (np.clip(array, self.low, self.high) - self.low) * (2.0 / (self.high - self.low)) - 1.0
        return np.asarray(scaled, dtype=np.float32)


def in_stored_range(values: npt.NDArray[np.float32]) -> bool:
    """Whether all values lie in [-1, 1], give or take rounding."""
    low, high = STORED_LOW - STORED_TOLERANCE, STORED_HIGH + STORED_TOLERANCE
    return bool(values.min() >= low and values.max() <= high)
