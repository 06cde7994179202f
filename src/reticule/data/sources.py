"""Where single images come from: files, encoded bytes, arrays.

Each kind gives the pixels of one image at a time, before anything is resized, and can be asked
from several threads unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reticule.data.classes import printable
from reticule.data.pixels import channels_of, decode, from_pillow
from reticule.data.preprocessing import WHITE, Colour
from reticule.errors import DataError


class Source(Protocol):
    """Images by their position."""

    @property
    def threads(self) -> bool:
        """Whether several threads may ask at the same time."""

    def __len__(self) -> int:
        """How many images there are."""

    def where(self, index: int) -> str:
        """The words that name an image in an error message."""

    def pixels(self, index: int, background: Colour) -> NDArray[np.uint8]:
        """uint8 (C, H, W) of any size, or DataError."""

    def channels(self, index: int) -> int:
        """Channels of an image, without decoding it; 0 where that is not known."""

    def content(self, index: int) -> bytes:
        """Bytes that tell the image from every other."""


@dataclass(frozen=True)
class Files:
    """Image files of a folder."""

    root: Path
    paths: Sequence[Path]
    threads: bool = True

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, index: int) -> str:
        return printable(str(self.paths[index].relative_to(self.root)))

    def pixels(self, index: int, background: Colour) -> NDArray[np.uint8]:
        return decode(self.paths[index], self.where(index), background)

    def channels(self, index: int) -> int:
        return channels_of(self.paths[index])

    def content(self, index: int) -> bytes:
        try:
            return self.paths[index].read_bytes()
        except OSError as problem:
            raise DataError(f"{self.where(index)} cannot be read: {problem.strerror}") from None


@dataclass(frozen=True)
class Encoded:
    """Encoded images in memory, as a parquet file has them."""

    name: str
    images: Sequence[bytes]
    threads: bool = True

    def __len__(self) -> int:
        return len(self.images)

    def where(self, index: int) -> str:
        return f"{self.name}: image {index}"

    def pixels(self, index: int, background: Colour) -> NDArray[np.uint8]:
        return decode(self.images[index], self.where(index), background)

    def channels(self, index: int) -> int:
        return channels_of(self.images[index])

    def content(self, index: int) -> bytes:
        return self.images[index]


@dataclass(frozen=True)
class Pictures:
    """Images in memory: uint8 arrays (C, H, W), or Pillow images that are transparent."""

    name: str
    images: Sequence[NDArray[np.uint8] | Image.Image]
    threads: bool = True

    def __len__(self) -> int:
        return len(self.images)

    def where(self, index: int) -> str:
        return f"{self.name}: image {index}"

    def pixels(self, index: int, background: Colour) -> NDArray[np.uint8]:
        image = self.images[index]
        if isinstance(image, Image.Image):
            return from_pillow(image, self.where(index), background)
        return image

    def channels(self, index: int) -> int:
        return len(self.pixels(index, WHITE))

    def content(self, index: int) -> bytes:
        image = self.images[index]
        if isinstance(image, Image.Image):
            return repr((image.mode, image.size)).encode() + image.tobytes()
        return repr(image.shape).encode() + image.tobytes()


@dataclass(frozen=True)
class Asked:
    """Images of a data set that is too large to keep: asked for again each time."""

    name: str
    fetch: Callable[[int], NDArray[np.uint8] | Image.Image]
    channel_counts: Sequence[int]
    threads: bool = False

    def __len__(self) -> int:
        return len(self.channel_counts)

    def where(self, index: int) -> str:
        return f"{self.name}: image {index}"

    def pixels(self, index: int, background: Colour) -> NDArray[np.uint8]:
        image = self.fetch(index)
        if isinstance(image, Image.Image):
            return from_pillow(image, self.where(index), background)
        return image

    def channels(self, index: int) -> int:
        return self.channel_counts[index]

    def content(self, index: int) -> bytes:
        image = self.pixels(index, WHITE)
        return repr(image.shape).encode() + image.tobytes()
