"""Resize and crop: from an image of any size to the size that a network takes.

The sizes are those of torchvision's ``Resize`` and ``CenterCrop``, the pixels Pillow's.

>>> import numpy as np
>>> Geometry(resize=4, crop=(4, 3)).apply(np.zeros((3, 8, 12), np.uint8)).shape
(3, 4, 3)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reticule.errors import DataError

Sides = int | tuple[int, int] | None

INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos", "box")
ADVICE = "give --resize and --crop (resize=, crop=), or resize the images"  # for another size
MOST_SIDE = 1 << 14  # settings come out of files that nobody vouches for
MOST_PIXELS = 1 << 26


@dataclass(frozen=True)
class Geometry:
    """How an image is resized and then cropped; DataError for impossible settings.

    ``resize`` is the length of the shorter side, or (height, width); ``crop`` is cut out of the
    centre, and one number means a square.  All kinds of ``interpolation`` but ``nearest`` are
    antialiased, as Pillow's are.
    """

    resize: Sides = None
    crop: Sides = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", _sides("resize", self.resize))
        object.__setattr__(self, "crop", _sides("crop", self.crop))
        if self.interpolation not in INTERPOLATIONS:
            raise DataError(
                f"preprocessing: interpolation {self.interpolation!r:.40} is unknown; "
                f"use one of {', '.join(INTERPOLATIONS)}"
            )

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.resize is not None or self.crop is not None

    def apply(self, image: NDArray[np.uint8], where: str = "the image") -> NDArray[np.uint8]:
        """uint8 (C, H, W) of any size to uint8 (C, H', W'); ``where`` names it in errors.

        Raises DataError for an image that is smaller than the crop.
        """
        height, width = image.shape[1:]
        if not height or not width:
            raise DataError(f"{where} has no pixels")
        if self.resize is not None:
            size = self._resized(height, width)
            if size[0] * size[1] > MOST_PIXELS:
                raise DataError(
                    f"{where} is {height}x{width} and would become {size[0]}x{size[1]}: "
                    "crop it beforehand"
                )
            image = image if size == (height, width) else _scaled(image, size, self.interpolation)
        return image if self.crop is None else self._cropped(image, where)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.resize, tuple):
            return self.resize
        assert self.resize is not None
        longer = int(self.resize * max(height, width) / min(height, width))
        return (self.resize, longer) if height <= width else (longer, self.resize)

    def _cropped(self, image: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        assert self.crop is not None
        high, wide = self.crop if isinstance(self.crop, tuple) else (self.crop, self.crop)
        height, width = image.shape[1:]
        if height < high or width < wide:
            resized = " when resized" if self.resize is not None else ""
            raise DataError(
                f"{where} is {height}x{width}{resized}, smaller than the crop of {high}x{wide} "
                "(height x width): resize to more, or crop less"
            )
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return image[:, top : top + high, left : left + wide]


def _scaled(
    image: NDArray[np.uint8], size: tuple[int, int], interpolation: str
) -> NDArray[np.uint8]:
    """Pillow's resampling, of three channels at once or of each alone: four are not RGBA."""
    kind = Image.Resampling[interpolation.upper()]
    height, width = size
    if len(image) == 3:
        whole = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        return np.asarray(whole.resize((width, height), kind)).transpose(2, 0, 1)
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in image)
    return np.stack([np.asarray(plane.resize((width, height), kind)) for plane in planes])


def _sides(name: str, value: object) -> Sides:
    if value is None:
        return None
    sides = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    whole = all(isinstance(side, (int, np.integer)) and type(side) is not bool for side in sides)
    if not whole or len(sides) not in (1, 2):
        raise DataError(f"preprocessing: {name} must be one whole number or two, not {value!r:.40}")
    if min(sides) < 1 or max(sides) > MOST_SIDE or (sides[0] * sides[-1]) > MOST_PIXELS:
        raise DataError(f"preprocessing: {name} of {value!r:.40} is too small or too large")
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else int(sides[0])


def size_text(shape: tuple[int, ...]) -> str:
    """Height and width of a (C, H, W) shape, for messages.

    >>> size_text((3, 32, 40))
    '32x40'
    """
    return f"{shape[-2]}x{shape[-1]}"
