"""Where the images of a data set are kept: ready in memory, or decoded when first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reticule.data.pixels import to_channels
from reticule.errors import DataError

CACHE_BYTES = 2 << 30  # decoded sets below this size stay in memory
_BLOCK = 64  # images that a thread decodes at a time


class Images(Protocol):
    """Images by their position in the source."""

    def take(self, indices: np.ndarray, channels: int | None) -> np.ndarray:
        """uint8 (n, C, H, W); ``channels`` None leaves the number of channels as it is."""

    def where(self, index: int) -> str:
        """The words that name an image in an error message."""


@dataclass(frozen=True)
class Store:
    """Everything that was read from a source: labels (int64), class names, images."""

    name: str
    labels: np.ndarray
    classes: tuple[str, ...]
    images: Images


class Ready:
    """Images in one uint8 array (N, C, H, W)."""

    def __init__(self, name: str, pixels: np.ndarray) -> None:
        self._name = name
        self._pixels = pixels

    def take(self, indices: np.ndarray, channels: int | None) -> np.ndarray:
        images = self._pixels[indices]
        if channels in (None, images.shape[1]):
            return images
        return to_channels(images, channels, f"{self._name}: an image")

    def where(self, index: int) -> str:
        return f"{self._name}: image {index}"


class Lazy:
    """Images that a function gives one by one, kept from then on if all of them fit.

    ``fetch`` maps a position to uint8 (C, H, W) and must be safe to call from several
    threads unless ``threads`` is off.
    """

    def __init__(
        self,
        count: int,
        fetch: Callable[[int], np.ndarray],
        where: Callable[[int], str],
        threads: bool = True,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._count = count
        self._fetch = fetch
        self.where = where
        self._threads = threads
        self._cache_bytes = cache_bytes
        self._first = -1  # the image whose shape all others must have
        self._natural: tuple[int, ...] = ()
        self._cache: dict[int | None, tuple[np.ndarray, np.ndarray]] = {}

    def take(self, indices: np.ndarray, channels: int | None) -> np.ndarray:
        shape = self._shape(indices, channels)
        if self._count * int(np.prod(shape)) >= self._cache_bytes:
            out = np.empty((len(indices), *shape), np.uint8)
            self._decode(indices, range(len(indices)), channels, out)
            return out
        if channels not in self._cache:
            self._cache[channels] = (
                np.empty((self._count, *shape), np.uint8),
                np.zeros(self._count, bool),
            )
        pixels, known = self._cache[channels]
        missing = np.unique(indices[~known[indices]])
        self._decode(missing, missing, channels, pixels)
        known[missing] = True
        return pixels[indices]

    def _shape(self, indices: np.ndarray, channels: int | None) -> tuple[int, ...]:
        """Shape that all images must have: that of the first one ever asked for."""
        if self._first < 0:
            first = int(indices[0]) if len(indices) else 0
            self._natural = self._fetch(first).shape
            self._first = first
        return self._natural if channels is None else (channels, *self._natural[1:])

    def _decode(
        self, indices: np.ndarray, rows: Iterable[int], channels: int | None, out: np.ndarray
    ) -> None:
        """Decode images into the given rows of an array."""
        jobs = list(zip(indices.tolist(), rows, strict=True))

        def fill(block: list[tuple[int, int]]) -> None:
            for index, row in block:
                out[row] = self._checked(index, channels, out.shape[1:])

        if not self._threads or len(jobs) <= _BLOCK:
            fill(jobs)
            return
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            blocks = (jobs[i : i + _BLOCK] for i in range(0, len(jobs), _BLOCK))
            for _ in pool.map(fill, blocks):
                pass

    def _checked(self, index: int, channels: int | None, shape: tuple[int, ...]) -> np.ndarray:
        image = self._fetch(index)
        first = self.where(self._first)
        if image.shape[1:] != shape[1:]:
            raise DataError(
                f"{self.where(index)} is {size_text(image.shape)}, {first} is "
                f"{size_text(shape)} (height x width): resize them to one size beforehand"
            )
        if channels is not None:
            return to_channels(image, channels, self.where(index))
        if image.shape[0] != shape[0]:
            raise DataError(
                f"{self.where(index)} has {image.shape[0]} channels, {first} has {shape[0]}: "
                "convert them all to grey or all to RGB beforehand"
            )
        return image


def size_text(shape: tuple[int, ...]) -> str:
    """Height and width of a (C, H, W) shape, for messages.

    >>> size_text((3, 32, 40))
    '32x40'
    """
    return f"{shape[-2]}x{shape[-1]}"
