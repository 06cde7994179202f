"""Preprocessing: from 8-bit pixels to the numbers that a network was trained on.

>>> import numpy as np
>>> Preprocessing(scale=255.0, mean=(0.5,), std=(0.25,)).apply(np.full((1, 1, 1, 1), 255, "u1"))
array([[[[2.]]]], dtype=float32)
>>> Preprocessing(resize=256, crop=224).resized(np.zeros((3, 300, 400), np.uint8)).shape
(3, 224, 224)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from reticule.data.geometry import Geometry, Sides
from reticule.errors import DataError

_TINY, _HUGE = 1e-30, 1e30  # dividing by the one, or subtracting the other, is safe in float32


Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
_NEEDED = ("scale", "mean", "std")


@dataclass(frozen=True)
class Preprocessing:
    """(pixel / scale - mean) / std, with one mean and std for all channels or one for each.

    Before that, images are resized and cropped: ``resize``, ``crop`` and ``interpolation`` are
    those of :class:`~reticule.data.geometry.Geometry`.  ``background`` is the colour, red, green
    and blue of 0..255 or one number for a grey, that shows through transparent pixels.

    Raises DataError for a scale that is not positive, a std of zero, lists that do not match, and
    sizes that cannot be.
    """

    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: Sides = None
    crop: Sides = None
    interpolation: str = "bilinear"
    background: Colour = WHITE

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
        geometry = self.geometry  # raises for sizes that cannot be
        checked = {
            "scale": scale,
            "mean": mean,
            "std": std,
            "resize": geometry.resize,
            "crop": geometry.crop,
            "background": _colour(self.background),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def geometry(self) -> Geometry:
        """Resize and crop alone."""
        return Geometry(self.resize, self.crop, self.interpolation)

    @property
    def channels(self) -> int:
        """Number of channels that mean and std are given for; 1 fits any number."""
        return max(len(self.mean), len(self.std))

    def resized(self, image: NDArray[np.uint8], where: str = "the image") -> NDArray[np.uint8]:
        """One image, uint8 (C, H, W) of any size, resized and cropped."""
        return self.geometry.apply(image, where)

    def apply(self, images: np.ndarray) -> NDArray[np.float32]:
        """Pixels (N, C, H, W), uint8 or float on the same 0..255 scale, to float32 inputs.

        The images have the network's size already; see :meth:`resized`.
        """
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
        """As plain data, sizes and background only where they are not the default."""
        plain: dict[str, object] = {
            "scale": self.scale, "mean": list(self.mean), "std": list(self.std)
        }  # fmt: skip
        for name in _OPTIONAL:
            value = getattr(self, name)
            if value != _OPTIONAL[name]:
                plain[name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> Preprocessing:
        """From plain data; DataError for anything that ``to_json`` does not write."""
        if not isinstance(plain, Mapping) or not set(_NEEDED) <= set(plain):
            raise DataError("preprocessing must have the entries scale, mean and std")
        if odd := [name for name in plain if name not in (*_NEEDED, *_OPTIONAL)]:
            raise DataError(f"preprocessing has an unknown entry {odd[0]!r:.40}")
        if "background" in plain and not isinstance(plain["background"], list):
            raise DataError("preprocessing: background must be a list")
        if empty := [name for name, value in plain.items() if value is None]:
            raise DataError(f"preprocessing: {empty[0]} has no value")
        return cls(**plain)  # type: ignore[arg-type]


_OPTIONAL = {
    field.name: field.default
    for field in fields(Preprocessing)
    if field.name not in _NEEDED and field.default is not MISSING
}


def _colour(value: object) -> Colour:
    """Red, green and blue; a lone number is a grey."""
    parts = (value,) * 3 if isinstance(value, (int, np.integer)) else value
    if not isinstance(parts, (tuple, list)) or len(parts) != 3:
        raise DataError("preprocessing: background must be red, green and blue, or one number")
    for part in parts:
        whole = isinstance(part, (int, np.integer)) and not isinstance(part, bool)
        if not whole or not 0 <= part <= 255:
            raise DataError(f"preprocessing: background must be in 0..255, not {part!r:.40}")
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


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
