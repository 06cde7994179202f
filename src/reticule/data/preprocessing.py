"""Preprocessing: from 8-bit pixels to the numbers that a network was trained on.

>>> import numpy as np
>>> Preprocessing(scale=255.0, mean=(0.5,), std=(0.25,)).apply(np.full((1, 1, 1, 1), 255, "u1"))
array([[[[2.]]]], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from reticule.errors import DataError

_TINY, _HUGE = 1e-30, 1e30  # dividing by the one, or subtracting the other, is safe in float32


@dataclass(frozen=True)
class Preprocessing:
    """(pixel / scale - mean) / std, with one mean and std for all channels or one for each.

    Raises DataError for a scale that is not positive, a std of zero or lists that do not match.
    """

    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        scale = _numbers("scale", (self.scale,))[0]
        mean, std = _numbers("mean", self.mean), _numbers("std", self.std)
        if scale < _TINY:
            raise DataError(f"preprocessing: scale is {scale:g}, it must be positive")
        if min(abs(value) for value in std) < _TINY:
            raise DataError("preprocessing: std has a zero, every entry must be non-zero")
        if len({1, len(mean), len(std)}) > 2:
            raise DataError(
                f"preprocessing: {len(mean)} means and {len(std)} stds; "
                "give one for all channels or one for each"
            )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @property
    def channels(self) -> int:
        """Number of channels that mean and std are given for; 1 fits any number."""
        return max(len(self.mean), len(self.std))

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Pixels (N, C, H, W), uint8 or float on the same 0..255 scale, to float32 inputs."""
        if images.ndim != 4:
            raise DataError(f"images have shape {images.shape}, expected (N, C, H, W)")
        if self.channels not in (1, images.shape[1]):
            raise DataError(
                f"preprocessing: mean and std are for {self.channels} channels, "
                f"the images have {images.shape[1]}"
            )
        out = images.astype(np.float32)
        out /= np.float32(self.scale)
        out -= np.array(self.mean, np.float32).reshape(1, -1, 1, 1)
        out /= np.array(self.std, np.float32).reshape(1, -1, 1, 1)
        return out

    def to_json(self) -> dict[str, object]:
        """As plain data; ``from_json`` gives the same value back."""
        return {"scale": self.scale, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> Preprocessing:
        """From plain data; DataError for anything that ``to_json`` does not write."""
        if not isinstance(plain, Mapping) or set(plain) != {"scale", "mean", "std"}:
            raise DataError("preprocessing must have exactly the entries scale, mean and std")
        return cls(**plain)  # type: ignore[arg-type]


def _numbers(name: str, values: object) -> tuple[float, ...]:
    """A non-empty list of finite numbers that float32 can hold; a lone number is a list."""
    if isinstance(values, (int, float)):
        values = (values,)
    if not isinstance(values, (tuple, list, np.ndarray)) or not len(values):
        raise DataError(f"preprocessing: {name} must be a number or a list of numbers")
    for value in values:
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or abs(value) > _HUGE or not isfinite(value):
            raise DataError(f"preprocessing: {name} must be finite numbers, not {value!r:.40}")
    return tuple(float(value) for value in values)
