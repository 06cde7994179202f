"""Data sets of Python: anything that gives one sample after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reticule.data.arrays import as_floats, looks_like_images, stored
from reticule.data.fitting import order_name
from reticule.data.pixels import as_pixels, channels_first, from_pillow, is_transparent
from reticule.data.preprocessing import WHITE
from reticule.data.sources import Asked, Pictures
from reticule.data.store import CACHE_BYTES, Lazy, Ready, Store
from reticule.errors import DataError

Picture = NDArray[np.uint8] | Image.Image
_LABELS = ("label", "labels")
# What the code of others is known to raise where it has no sample.
_BROKEN = (OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, SyntaxError)


@dataclass(frozen=True)
class Sample:
    """One input without the batch axis: a picture, or float32 arrays by name; perhaps a label."""

    picture: Picture | None = None
    arrays: Mapping[str, NDArray[np.float32]] | None = None
    label: int | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What all samples of a set have in common."""
        return self.picture is None, tuple(self.arrays or ()), self.label is None


def read_items(source: Any) -> Store:
    """A data set with ``len()`` and ``[i]``, or an iterable; every sample is read once, here.

    A sample is an image, an array, a tuple of arrays or a mapping of names to arrays.  A whole
    number at the end of a tuple, or under the name ``label``, is its label.  What is an image:
    a Pillow image, 8-bit pixels, or, beside a label, floats in 0..1 taken as pixel/255.
    """
    name = type(source).__name__
    if hasattr(source, "batch_size") and hasattr(source, "dataset"):
        raise DataError(f"{name}: gives batches, but single samples are needed; give its .dataset")
    samples: list[Sample] = []
    room: float = CACHE_BYTES if hasattr(source, "__getitem__") else float("inf")
    for index, item in enumerate(_each(source, name)):
        sample = _sample(item, _where(name, index))
        if samples and sample.kind != samples[0].kind:
            raise DataError(f"{_where(name, index)} is of another kind than the first")
        room -= _bytes(sample)
        if room < 0 and sample.picture is not None:
            return _too_many(source, name)
        samples.append(sample)
    if not samples:
        raise DataError(f"{name}: has no images and no arrays")
    labels = None if samples[0].label is None else np.array([s.label for s in samples])
    pictures = [sample.picture for sample in samples if sample.picture is not None]
    if pictures:
        return stored(name, len(pictures), labels, images=_kept(name, pictures))
    return stored(name, len(samples), labels, arrays=_stacked(samples, name))


def _each(source: Any, name: str) -> Iterator[Any]:
    """All items, with errors of their own code in our words."""
    indexed = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    items = (source[i] for i in range(len(source))) if indexed else iter(source)
    index = 0
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except _BROKEN as problem:
            text = " ".join(str(problem).split())[:120] or type(problem).__name__
            raise DataError(f"{_where(name, index)}: nothing comes back: {text}") from problem
        yield item
        index += 1


def _sample(item: Any, where: str) -> Sample:
    """One item of any shape that is taken."""
    label = None
    if isinstance(item, Mapping):
        parts = {str(key): value for key, value in item.items()}
        numbers = [parts.pop(key) for key in _LABELS if key in parts]
        label = _label(numbers[0]) if numbers else None
        if numbers and label is None:
            raise DataError(f"{where}: its label is no whole number from 0")
    elif isinstance(item, tuple) or (isinstance(item, list) and any(map(_is_array, item))):
        parts = {order_name(position): value for position, value in enumerate(item)}
        if len(item) > 1:
            label = _label(item[-1])
        if label is not None:
            del parts[order_name(len(item) - 1)]
    else:
        parts = {order_name(0): item}
    if not parts:
        raise DataError(f"{where} is empty; give an image or arrays")
    if len(parts) == 1:
        (value,) = parts.values()
        picture = _picture(value, where, label is not None)
        if picture is not None:
            return Sample(picture, label=label)
    arrays = {key: as_floats(_array(value, where), where) for key, value in parts.items()}
    return Sample(arrays=arrays, label=label)


def _picture(value: Any, where: str, labelled: bool) -> Picture | None:
    """An image, or None for an array that is none."""
    if isinstance(value, Image.Image):
        if not value.width or not value.height:
            raise DataError(f"{where} has no pixels")
        try:
            return value.copy() if is_transparent(value) else from_pillow(value, where)
        except _BROKEN as problem:
            raise DataError(f"{where} cannot be decoded: {problem}") from None
    array = _array(value, where)
    if (labelled and array.ndim in (2, 3)) or looks_like_images(array[None]):
        return channels_first(as_pixels(array, where, unit=True)[None], where)[0]
    return None


def _label(value: Any) -> int | None:
    """A whole number, also as an array of one; None for anything else."""
    try:
        array = np.asarray(value)
    except _BROKEN:
        return None
    return int(array.ravel()[0]) if array.dtype.kind in "iu" and array.size == 1 else None


def _array(value: Any, where: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except _BROKEN as problem:
        text = " ".join(str(problem).split())[:120]
        raise DataError(f"{where} is no image and no array: {text}") from None


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") or isinstance(value, Image.Image)


def _kept(name: str, pictures: Sequence[Picture]) -> Ready | Lazy:
    shapes = {p.shape for p in pictures if not isinstance(p, Image.Image)}
    if len(shapes) == 1 and not any(isinstance(p, Image.Image) for p in pictures):
        return Ready(name, np.stack([np.asarray(p) for p in pictures]))
    return Lazy(Pictures(name, pictures))


def _stacked(samples: Sequence[Sample], name: str) -> dict[str, NDArray[np.float32]]:
    first = samples[0].arrays or {}
    for index, sample in enumerate(samples):
        for key, array in (sample.arrays or {}).items():
            if array.shape != first[key].shape:
                called = f"'{key}'" if not key.startswith("#") else "an array"
                raise DataError(
                    f"{_where(name, index)}: {called} has shape {array.shape}, that of the first "
                    f"sample {first[key].shape}; give samples of one shape"
                )
    return {key: np.stack([(s.arrays or {})[key] for s in samples]) for key in first}


def _too_many(source: Any, name: str) -> Store:
    """A set whose images are asked for again each time, as memory does not hold them."""

    def fetch(index: int) -> Picture:
        try:
            item = source[index]
        except _BROKEN as problem:
            raise DataError(f"{_where(name, index)}: nothing comes back: {problem}") from problem
        picture = _sample(item, _where(name, index)).picture
        if picture is None:
            raise DataError(f"{_where(name, index)} is no image")
        return picture

    labels, channels = [], []
    for index, item in enumerate(_each(source, name)):
        sample = _sample(item, _where(name, index))
        labels.append(sample.label)
        picture = sample.picture
        if isinstance(picture, Image.Image):
            picture = from_pillow(picture, name, WHITE)
        channels.append(0 if picture is None else len(picture))
    known = [label for label in labels if label is not None]
    if known and len(known) < len(labels):
        raise DataError(f"{name}: some images have a label, others have none")
    numbers = np.array(known) if known else None
    return stored(name, len(labels), numbers, images=Lazy(Asked(name, fetch, channels)))


def _bytes(sample: Sample) -> int:
    if isinstance(sample.picture, Image.Image):
        return 4 * sample.picture.width * sample.picture.height
    return 0 if sample.picture is None else sample.picture.nbytes


def _where(name: str, index: int) -> str:
    return f"{name}: sample {index}"
