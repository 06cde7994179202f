"""Pixels: one encoded image, or an array of any layout, to uint8 (C, H, W).

Every function takes ``where``, the words that its error messages start with.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reticule.data.orientation import upright
from reticule.data.preprocessing import WHITE, Colour
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
_GREY = ("1", "L", "LA", "La", "F")  # and all that begin with I
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_PNG = b"\x89PNG\r\n\x1a\n"
_STARTS = (
    _PNG, b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*",
    *(b"P" + number for number in (b"1", b"2", b"3", b"4", b"5", b"6")),
)  # fmt: skip
_LFS = b"version https://git-lfs"


def decode(encoded: bytes | Path, where: str, background: Colour = WHITE) -> NDArray[np.uint8]:
    """One image file, or its bytes, to uint8 (C, H, W) with one channel or three."""
    try:
        if isinstance(encoded, Path) and not encoded.is_file():  # a pipe would block for ever
            raise DataError(f"{where} {_no_file(encoded)}")
        with _opened(encoded) as file, Image.open(file) as image:
            return from_pillow(image, where, background)
    except _BROKEN as problem:
        raise DataError(f"{where} {_reason(encoded, problem)}") from None


def channels_of(encoded: bytes | Path) -> int:
    """Channels that an image will have, from its header alone; 0 where that is unreadable."""
    try:
        if isinstance(encoded, Path) and not encoded.is_file():
            return 0
        start = encoded[:26] if isinstance(encoded, bytes) else _start(encoded)
        if start.startswith(_PNG) and len(start) > 25:
            return 1 if start[25] in (0, 4) else 3  # grey, or grey with transparency
        with _opened(encoded) as file, Image.open(file) as image:
            return 1 if _is_grey(image.mode) else 3
    except _BROKEN:
        return 0


def starts_like_an_image(path: Path) -> bool:
    """Whether the first bytes of a file are those of a common kind of image."""
    try:
        start = _start(path) if path.is_file() else b""
    except OSError:
        return False
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def is_lfs_pointer(start: bytes) -> bool:
    """Whether these first bytes are those of what Git LFS leaves in place of a large file."""
    return start.startswith(_LFS)


def from_pillow(image: Image.Image, where: str, background: Colour = WHITE) -> NDArray[np.uint8]:
    """A Pillow image to uint8 (C, H, W).

    Bilevel and grey images have one channel, all others three.  Transparent pixels show the
    background, 16-bit grey is scaled to 8 bits, and an orientation tag is followed.
    """
    image = upright(image)
    mode = image.mode
    if mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise DataError(f"{where} has pixels outside of 16 bits: convert it to 8 bits")
        return ((wide + 128) // 257).astype(np.uint8)[None]
    if mode == "F":
        return as_pixels(np.asarray(image), where)[None]
    if is_transparent(image):
        image = _on(image, background)
    kind = "L" if _is_grey(mode) else "RGB"
    pixels = np.asarray(image if image.mode == kind else image.convert(kind))
    return pixels[None] if kind == "L" else pixels.transpose(2, 0, 1)


def is_transparent(image: Image.Image) -> bool:
    """Whether some pixels may let the background through."""
    return image.mode in _TRANSPARENT or "transparency" in image.info


def _is_grey(mode: str) -> bool:
    return mode in _GREY or mode.startswith("I")


def _on(image: Image.Image, background: Colour) -> Image.Image:
    """The image composed onto a colour."""
    if image.mode in ("La", "RGBa"):  # Pillow takes away what was multiplied in one step only
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)


def _opened(encoded: bytes | Path) -> BinaryIO:
    """For reading.  Never a path: of those, Pillow maps some, and turns TIFF files wrongly then."""
    return io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded.open("rb")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _no_file(path: Path) -> str:
    if path.is_symlink():
        return "is a link to a file that is missing"
    return "is not a file that can be read" if path.exists() else "is missing"


def _reason(encoded: bytes | Path, problem: BaseException) -> str:
    """Why an image cannot be decoded."""
    try:
        whole = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
    except OSError as unread:
        return f"cannot be read: {unread.strerror}"
    if not whole:
        return "cannot be decoded: it is empty"
    if is_lfs_pointer(whole):
        return "is a Git LFS pointer instead of an image: run 'git lfs pull'"
    if _is_cut_off(whole, problem):
        return "cannot be decoded: it is truncated; copy it again"
    if isinstance(problem, Image.UnidentifiedImageError):
        return "cannot be decoded: not an image"
    return f"cannot be decoded: {_one_line(problem)}"


def _is_cut_off(whole: bytes, problem: BaseException) -> bool:
    if isinstance(problem, MemoryError | Image.DecompressionBombError):
        return False
    if whole.startswith(_PNG):
        return b"IEND" not in whole
    if whole.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in whole[-1024:]
    return "truncated" in str(problem).lower()


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
            "give images that are not normalised, and scale, mean and std as settings "
            "(or, in an .npz, prepared arrays under the names of the network's inputs)"
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


def to_channels(images: NDArray[np.uint8], channels: int, where: str) -> NDArray[np.uint8]:
    """(..., C, H, W) with another number of channels.

    Grey is repeated to three channels; colour becomes the grey of ITU-R 601, to the bit as
    Pillow's mode L.
    """
    have = images.shape[-3]
    if have == channels:
        return images
    if (have, channels) == (1, 3):
        return np.repeat(images, 3, axis=-3)
    if (have, channels) == (3, 1):
        wide = images.astype(np.uint32)
        red, green, blue = (wide[..., i : i + 1, :, :] for i in range(3))
        return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)
    raise DataError(
        f"{where} has {have} channels, but {channels} are needed: convert the images beforehand"
    )


def _one_line(problem: object) -> str:
    text = " ".join(str(problem).split())
    return text[:120] or type(problem).__name__
