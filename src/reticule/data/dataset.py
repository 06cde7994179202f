"""Data: labelled images with the preprocessing that turns them into a network's input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reticule.data.preprocessing import Preprocessing
from reticule.data.readers import read
from reticule.data.store import Store, size_text
from reticule.errors import DataError


class Data:
    """Labelled images, decoded when first asked for.

    ``source`` is one of

    * a path: a parquet file in the Hugging Face image layout (needs the extra ``data``),
      a folder with one sub-folder per class, an ``.npz`` with ``images`` and ``labels``
      (or ``x`` and ``y``), or one file of an idx pair;
    * ``(images, labels)``: arrays with pixels in 0..255 (floats are rounded), laid out
      (N, H, W), (N, H, W, C) or (N, C, H, W);
    * a data set with ``len()`` and ``[i]`` giving (image, label), such as a torch
      ``Dataset``; float images in 0..1 are taken as pixel/255.

    A network's input is (pixel / scale - mean) / std.  Decoded images stay in memory when
    all of them take less than 2 GiB.  Raises DataError, in one line that names the file,
    for whatever is wrong with a source.
    """

    def __init__(
        self,
        source: Any,
        *,
        scale: float = 255.0,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        self.preprocessing = Preprocessing(scale, mean, std)  # type: ignore[arg-type]
        self._store: Store = read(source)
        self._index = np.arange(len(self._store.labels))
        self._channels: int | None = None

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Data({self.name!r}, {len(self)} images)"

    @property
    def name(self) -> str:
        """Name of the file or folder, without its path."""
        return self._store.name

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,)."""
        return self._store.labels[self._index]

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return True

    @property
    def holds_images(self) -> bool:
        """Whether inputs are images; else they are arrays, one for each input of the network."""
        return True

    def inputs(self, indices: Any) -> tuple[np.ndarray, ...]:
        """One float32 array for each input of the network."""
        return (self.batch(indices),)

    def input_batches(self, size: int) -> Iterator[tuple[np.ndarray, ...]]:
        """All inputs in order, in batches; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self.inputs(np.arange(start, min(start + size, len(self))))

    def digest(self) -> str:
        """Stands for pixels, labels, order and preprocessing."""
        digest = hashlib.sha256(repr(self.preprocessing).encode() + self.labels.tobytes())
        for start in range(0, len(self), 256):
            pixels = self.images(np.arange(start, min(start + 256, len(self))))
            digest.update(np.ascontiguousarray(pixels).tobytes())
        return digest.hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label; empty where the source has none."""
        return self._store.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first image."""
        channels, height, width = self.images([0]).shape[1:]
        return channels, height, width

    def images(self, indices: Any) -> np.ndarray:
        """Pixels of the images at the given positions: uint8 (n, C, H, W)."""
        return self._store.images.take(self._index[self._positions(indices)], self._channels)

    def batch(self, indices: Any) -> np.ndarray:
        """Network input for the images at the given positions: float32 (n, C, H, W)."""
        return self.preprocessing.apply(self.images(indices))

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images in order as (float32 batch, labels); the last batch may be smaller."""
        if size < 1:
            raise DataError(f"{self.name}: a batch of {size} images is too small, give 1 or more")
        labels = self.labels
        for start in range(0, len(self), size):
            chosen = np.arange(start, min(start + size, len(self)))
            yield self.batch(chosen), labels[chosen]

    def subset(self, indices: Any) -> Data:
        """The images at the given positions, in the given order."""
        index = self._index[self._positions(indices)]
        if not len(index):
            raise DataError(f"{self.name}: a subset needs at least one image")
        return self._changed(_index=index)

    def split(self, fraction: float = 0.1, seed: int = 0) -> tuple[Data, Data]:
        """(rest, held out): a stratified split that depends on the labels and the seed only.

        About ``fraction`` of every class is held out, and at least one image of a class is
        in each part when it has two or more.  Both parts keep the order of the data.
        """
        if not 0 < fraction < 1:
            raise DataError(f"{self.name}: cannot hold out {fraction}, give a fraction in 0..1")
        if seed < 0:
            raise DataError(f"{self.name}: seed {seed} is negative")
        generator = np.random.Generator(np.random.PCG64(seed))
        labels = self.labels
        held = np.zeros(len(self), bool)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            most = len(members) - 1  # a class of one image stays in the rest
            count = min(max(round(len(members) * fraction), 1), most)
            held[generator.permutation(members)[:count]] = True
        if not held.any():
            raise DataError(f"{self.name}: no class has two images, nothing can be held out")
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))

    def fitted(
        self,
        inputs: Mapping[str, Sequence[int]],
        classes: int | None = None,
        labels: Sequence[str] = (),
    ) -> Data:
        """This data for a network with these inputs (name to shape) and so many classes.

        Grey images are repeated for a network that takes three channels, and colour images
        whose channels are equal are taken as grey.  DataError if the first image has another
        size, or a label is too large.
        """
        shape = next(iter(inputs.values()))
        if len(shape) != 3:
            raise DataError(
                f"{self.name}: holds images, but the network takes inputs of shape "
                f"{tuple(shape)}; give it an input (C, H, W) and a Flatten"
            )
        fitted = self._changed(_channels=int(shape[0]))
        first = self._store.images.where(int(self._index[0]))
        if self.preprocessing.channels not in (1, shape[0]):
            raise DataError(
                f"preprocessing: mean and std are for {self.preprocessing.channels} channels, "
                f"the network takes {shape[0]}"
            )
        if self.shape[1:] != tuple(shape[1:]):
            raise DataError(
                f"{first} is {size_text(self.shape)}, the network takes {size_text(tuple(shape))} "
                "(height x width): resize the images beforehand"
            )
        _ = fitted.shape  # raises where the channels do not convert
        numbers = self.labels
        if classes is not None and numbers.max() >= classes:
            odd = int(np.flatnonzero(numbers >= classes)[0])
            raise DataError(
                f"{self._store.images.where(int(self._index[odd]))} has label {numbers[odd]}, "
                f"but the network has {classes} classes: give the data it was trained for"
            )
        return fitted

    def with_preprocessing(self, preprocessing: Preprocessing) -> Data:
        """The same images, prepared in another way."""
        return self._changed(preprocessing=preprocessing)

    def save_npz(self, path: str | Path) -> None:
        """Write pixels, labels and class names as an ``.npz`` that ``Data`` reads."""
        images = self.images(np.arange(len(self)))
        try:
            with Path(path).open("wb") as file:
                np.savez_compressed(
                    file, images=images, labels=self.labels, classes=np.array(self.classes, str)
                )
        except OSError as problem:
            raise DataError(f"{path}: cannot be written ({problem.strerror})") from None

    def _positions(self, indices: Any) -> np.ndarray:
        positions = np.asarray(indices)
        if not positions.size:
            return np.zeros(0, np.int64)
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise DataError(f"{self.name}: images are chosen by a list of integers")
        if positions.min() < 0 or positions.max() >= len(self):
            raise DataError(f"{self.name}: an index is outside of its {len(self)} images")
        return positions

    def _changed(self, **fields: Any) -> Data:
        other = object.__new__(Data)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(fields)
        return other
