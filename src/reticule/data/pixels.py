"""Pixels: one encoded image, or an array of any layout, to uint8 (C, H, W).

Every function takes ``where``, the words that its error messages start with.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from reticule.errors import DataError

# What Pillow's decoders are known to raise on damaged files.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_COLOUR_CHANNELS = (1, 3, 4)


def decode(encoded: bytes | Path, where: str) -> np.ndarray:
    """One image file, or its bytes, to uint8 (C, H, W) with one channel or three."""
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
            return from_pillow(image, where)
    except _BROKEN as problem:
        reason = "not an image" if isinstance(problem, Image.UnidentifiedImageError) else problem
        raise DataError(f"{where} cannot be decoded: {_one_line(reason)}") from None


def from_pillow(image: Image.Image, where: str) -> np.ndarray:
    """A Pillow image to uint8 (C, H, W).

    Bilevel and grey images have one channel, all others three.  Transparency is dropped,
    16-bit grey is scaled to 8 bits, and an orientation tag is not followed.
    """
    mode = image.mode
    if mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise DataError(f"{where} has pixels outside of 16 bits: convert it to 8 bits")
        return ((wide + 128) // 257).astype(np.uint8)[None]
    if mode == "F":
        return as_pixels(np.asarray(image), where)[None]
    if mode in ("1", "L", "LA", "La"):
        return np.asarray(image.convert("L"))[None]
    if mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def as_pixels(values: np.ndarray, where: str, unit: bool = False) -> np.ndarray:
    """Numbers to uint8 of the same shape.

    Integers and floats must lie in 0..255, and floats are rounded; with ``unit``, floats
    are pixel/255 and must lie in 0..1.
    """
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8, copy=False)
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: images must be numbers, not {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise DataError(f"{where}: images have pixels that are NaN or infinite")
    limit = 1.0 if unit and values.dtype.kind == "f" else 255.0
    if low < 0 or high > limit:
        raise DataError(
            f"{where}: pixels from {low:.4g} to {high:.4g}, expected 0..{limit:g}: "
            "give images that are not normalised, and scale, mean and std as settings"
        )
    if values.dtype.kind != "f":
        return values.astype(np.uint8)
    if not unit and 0 < high <= 1:
        raise DataError(f"{where}: pixels from 0 to 1, expected 0..255: multiply them by 255")
    return np.rint(values * (255.0 / limit)).astype(np.uint8)


def channels_first(images: np.ndarray, where: str) -> np.ndarray:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) to (N, C, H, W).

    Four axes are read as (N, C, H, W), unless only the last has a length of 1, 3 or 4.
    """
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4:
        first, last = (images.shape[axis] in _COLOUR_CHANNELS for axis in (1, 3))
        if last and not first:
            images = images.transpose(0, 3, 1, 2)
    else:
        raise DataError(
            f"{where}: images have shape {images.shape}, "
            "expected (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if 0 in images.shape[1:]:
        raise DataError(f"{where}: images of shape {images.shape[1:]} have no pixels")
    return np.ascontiguousarray(images)


def to_channels(images: np.ndarray, channels: int, where: str) -> np.ndarray:
    """(..., C, H, W) with another number of channels, where that loses nothing.

    Grey is repeated to three channels; three channels become one if they are equal.
    """
    have = images.shape[-3]
    if have == channels:
        return images
    if (have, channels) == (1, 3):
        return np.repeat(images, 3, axis=-3)
    if (have, channels) == (3, 1):
        grey = images[..., :1, :, :]
        if (images == grey).all():
            return grey
        raise DataError(f"{where} is in colour, but grey is needed: convert it to grey beforehand")
    raise DataError(
        f"{where} has {have} channels, but {channels} are needed: convert the images beforehand"
    )


def _one_line(problem: object) -> str:
    text = " ".join(str(problem).split())
    return text[:120] or type(problem).__name__
