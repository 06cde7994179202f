"""Which way up an image is, from the tag that cameras write.

Read here and not by Pillow, which warns on standard error about tags that are damaged.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from PIL import Image

_HEX = "Raw profile type exif"  # in text chunks of some PNG files
_XMP = ("XML:com.adobe.xmp", "xmp")
_PATTERN = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_TAG, _SHORT = 0x0112, 3
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """The image as its orientation tag says it is to be seen; a damaged tag says nothing.

    Pillow turns TIFF files itself.
    """
    image.load()  # tags may stand behind the pixels
    turn = _TURNS.get(orientation(image.info)) if image.info else None
    return image if turn is None else image.transpose(turn)


def orientation(info: Mapping[Any, Any]) -> int:
    """The tag's value, 1 to 8, from what Pillow keeps beside an image; 1 if there is none."""
    exif = info.get("exif")
    if exif is None and isinstance(info.get(_HEX), str):
        try:
            exif = bytes.fromhex("".join(info[_HEX].split("\n")[3:]))
        except ValueError:
            exif = None
    found = _from_exif(exif) if isinstance(exif, bytes) else 0
    for key in _XMP:
        text = info.get(key)
        text = text.encode(errors="replace") if isinstance(text, str) else text
        if not found and isinstance(text, bytes) and (match := _PATTERN.search(text)):
            found = int(match[1])
    return found or 1


def _from_exif(exif: bytes) -> int:
    """From the first directory of tags; 0 if it is not there, or damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
            if (tag, kind) == (_TAG, _SHORT):
                return value if value in _TURNS else 0
    except struct.error:
        pass
    return 0
