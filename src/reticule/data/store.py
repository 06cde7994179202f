"""Where the images of a data set are kept: ready in memory, or decoded when first asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reticule.data.geometry import ADVICE, Geometry, size_text
from reticule.data.pixels import to_channels
from reticule.data.preprocessing import Colour
from reticule.data.sources import Pictures, Source
from reticule.errors import DataError

CACHE_BYTES = 2 << 30  # decoded sets below this size stay in memory
_BLOCK = 64  # images that a thread decodes at a time

Faults = dict[int, str]  # position of an image: why it cannot be used


@dataclass(frozen=True)
class View:
    """How images are wanted: channels, (height, width), and how they get there.

    ``whose`` says in error messages where the size comes from.
    """

    channels: int
    size: tuple[int, int]
    geometry: Geometry
    background: Colour
    whose: str = field(default="the first is", compare=False)


class Images(Protocol):
    """Images by their position in the source."""

    def __len__(self) -> int:
        """How many images there are."""

    @property
    def channels(self) -> int:
        """Channels that suit all images: 3 where grey and colour are mixed."""

    def where(self, index: int) -> str:
        """The words that name an image in an error message."""

    def shape(self, index: int, geometry: Geometry, background: Colour) -> tuple[int, int, int]:
        """(C, H, W) of one image, resized and cropped; DataError if it does not decode."""

    def take(self, indices: NDArray[np.int64], view: View) -> NDArray[np.uint8]:
        """uint8 (n, C, H, W); DataError naming the first image that cannot be used."""

    def faults(self, indices: NDArray[np.int64], view: View) -> Faults:
        """All images at these positions that cannot be used, each decoded once."""

    def feed(self, indices: NDArray[np.int64], digest: hashlib._Hash) -> None:
        """Add the images' content to a digest."""


@dataclass(frozen=True)
class Store:
    """Everything that was read from a source.

    ``labels`` (int64) are None where there are none.  Either there are ``images``, or ``arrays``
    (float32) by the name of the network's input, each with the samples on its first axis; a name
    may be empty or a mere guess.  ``ordered`` says that labels are nothing but places in the order
    of the classes' names.  ``remarks`` are sentences for the user, ``order`` one about the
    numbers of the classes, as long as these are the source's own.
    """

    name: str
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    images: Images | None = None
    arrays: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    ordered: bool = False
    order: tuple[str, ...] = ()


class Ready:
    """Images in one uint8 array (N, C, H, W).

    ``final`` pixels have been resized and cropped already, and will not be again.
    """

    def __init__(self, name: str, pixels: NDArray[np.uint8], final: bool = False) -> None:
        self._pixels = pixels
        self._final = final
        self._lazy = Lazy(Pictures(name, pixels))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def channels(self) -> int:
        return self._pixels.shape[1]

    def where(self, index: int) -> str:
        return self._lazy.where(index)

    def shape(self, index: int, geometry: Geometry, background: Colour) -> tuple[int, int, int]:
        if self._as_it_is(geometry):
            channels, height, width = self._pixels.shape[1:]
            return channels, height, width
        return self._lazy.shape(index, geometry, background)

    def take(self, indices: NDArray[np.int64], view: View) -> NDArray[np.uint8]:
        if not self._as_it_is(view.geometry):
            return self._lazy.take(indices, view)
        if len(indices) and (wrong := self._wrong(int(indices[0]), view)):
            raise DataError(wrong)
        name = self.where(int(indices[0])) if len(indices) else ""
        return to_channels(self._pixels[indices], view.channels, name)

    def faults(self, indices: NDArray[np.int64], view: View) -> Faults:
        if not self._as_it_is(view.geometry):
            return self._lazy.faults(indices, view)
        wrong = ((index, self._wrong(index, view)) for index in indices.tolist())
        return {index: reason for index, reason in wrong if reason}

    def feed(self, indices: NDArray[np.int64], digest: hashlib._Hash) -> None:
        digest.update(repr(self._pixels.shape[1:]).encode())
        for index in indices.tolist():
            digest.update(np.ascontiguousarray(self._pixels[index]).data)

    def _as_it_is(self, geometry: Geometry) -> bool:
        return self._final or not geometry.changes

    def _wrong(self, index: int, view: View) -> str:
        shape = self._pixels.shape[1:]
        return "" if shape[1:] == view.size else _other_size(self.where(index), shape, view)


class Lazy:
    """Images that are decoded one by one, and kept from then on if all of them fit."""

    def __init__(self, source: Source, cache_bytes: int = CACHE_BYTES) -> None:
        self._source = source
        self._cache_bytes = cache_bytes
        self._shapes: dict[tuple[int, Geometry, Colour], tuple[int, int, int]] = {}
        self._cache: dict[View, tuple[NDArray[np.uint8], NDArray[np.bool_]]] = {}

    def __len__(self) -> int:
        return len(self._source)

    @cached_property
    def channels(self) -> int:
        most = 1
        for index in range(len(self._source)):
            most = max(most, self._source.channels(index))
            if most >= 3:
                break
        return most

    def where(self, index: int) -> str:
        return self._source.where(index)

    def shape(self, index: int, geometry: Geometry, background: Colour) -> tuple[int, int, int]:
        key = (index, geometry, background)
        if key not in self._shapes:
            image = self._source.pixels(index, background)
            channels, height, width = geometry.apply(image, self.where(index)).shape
            self._shapes[key] = (channels, height, width)
        return self._shapes[key]

    def take(self, indices: NDArray[np.int64], view: View) -> NDArray[np.uint8]:
        kept = self._kept(view)
        if kept is None:
            out = np.empty((len(indices), view.channels, *view.size), np.uint8)
            _refuse(self._decode(indices, range(len(indices)), view, out))
            return out
        _refuse(self._fill(indices, view))
        return kept[0][indices]

    def faults(self, indices: NDArray[np.int64], view: View) -> Faults:
        if self._kept(view) is None:
            return self._decode(indices, range(len(indices)), view, None)
        return self._fill(indices, view)

    def feed(self, indices: NDArray[np.int64], digest: hashlib._Hash) -> None:
        for index in indices.tolist():
            content = self._source.content(index)
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)

    def _kept(self, view: View) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """Images that are kept, and which of them have been decoded; None if there are too many."""
        shape = (len(self._source), view.channels, *view.size)
        if int(np.prod(shape, dtype=np.int64)) >= self._cache_bytes:
            return None
        if view not in self._cache:
            self._cache[view] = (np.empty(shape, np.uint8), np.zeros(shape[0], bool))
        return self._cache[view]

    def _fill(self, indices: NDArray[np.int64], view: View) -> Faults:
        """Decode what is missing among the images that are kept."""
        pixels, known = self._cache[view]
        missing = np.unique(indices[~known[indices]])
        faults = self._decode(missing, missing.tolist(), view, pixels)
        known[missing] = True
        known[list(faults)] = False
        return faults

    def _decode(
        self,
        indices: NDArray[np.int64],
        rows: Iterable[int],
        view: View,
        out: NDArray[np.uint8] | None,
    ) -> Faults:
        """Decode images into the given rows of an array, or only to see whether they do."""
        jobs = list(zip(indices.tolist(), rows, strict=True))

        def fill(block: list[tuple[int, int]]) -> Faults:
            faults = {}
            for index, row in block:
                try:
                    image = self._viewed(index, view)
                except DataError as problem:
                    faults[index] = str(problem)
                    continue
                if out is not None:
                    out[row] = image
            return faults

        if not self._source.threads or len(jobs) <= _BLOCK:
            return fill(jobs)
        faults: Faults = {}
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            blocks = (jobs[i : i + _BLOCK] for i in range(0, len(jobs), _BLOCK))
            for some in pool.map(fill, blocks):
                faults |= some
        return faults

    def _viewed(self, index: int, view: View) -> NDArray[np.uint8]:
        image = self._source.pixels(index, view.background)
        if view.geometry.changes:
            image = view.geometry.apply(image, self.where(index))
        if image.shape[1:] != view.size:
            raise DataError(_other_size(self.where(index), image.shape, view))
        return to_channels(image, view.channels, self.where(index))


def _refuse(faults: Faults) -> None:
    if faults:
        raise DataError(next(iter(faults.values())))


def _other_size(where: str, shape: tuple[int, ...], view: View) -> str:
    resized = " when resized and cropped" if view.geometry.changes else ""
    return (
        f"{where} is {size_text(shape)}{resized}, {view.whose} {size_text(view.size)} "
        f"(height x width): {ADVICE}"
    )
