"""Chunks: what is coded together.

All arrays are cut into row groups of at least 2^16 values; the row groups of a tensor's
arrays follow each other, so that a mask comes before what lies under it.  Chunks are
filled with them until they hold the target number of values.  A chunk decodes by itself:
several do so at once, and one tensor can be read without the others.

>>> import numpy as np
>>> from reticule.codec.arrays import Array, Kind, Layout
>>> large = Array(Kind.MASK, Layout(300, 1000, 1, 1), np.zeros(300_000, np.uint8))
>>> small = Array(Kind.MASK, Layout(1, 10, 1, 1), np.zeros(10, np.uint8))
>>> [[piece.layout.size for piece in chunk] for chunk in plan([[large], [small]], 1 << 17)]
[[66000, 66000], [66000, 66000], [36000, 10]]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from reticule.codec.adaptive import AdaptiveCoder
from reticule.codec.arrays import Array, Piece
from reticule.codec.bits import ByteReader
from reticule.codec.limits import Limits
from reticule.codec.static import StaticCoder
from reticule.errors import RecipeError


class ChunkCoder(Protocol):
    """Turns the pieces of a chunk into bytes and back.

    Both directions return how many bytes each piece took; the last one gets what
    finishing the chunk costs.  ``decode`` fills the data of the pieces and must use up
    all bytes; it raises FormatError for anything else.
    """

    def encode(self, pieces: Sequence[Piece]) -> tuple[bytes, list[int]]: ...

    def decode(self, reader: ByteReader, pieces: Sequence[Piece], limits: Limits) -> list[int]: ...


PRESETS = ("instant", "fast", "small")
HINTED = "small"
"""The preset whose models know the blocks of rows and columns."""

_CODERS: dict[str, ChunkCoder] = {
    "instant": StaticCoder(),
    "fast": AdaptiveCoder(0),
    "small": AdaptiveCoder(1),
}


def coder(preset: str) -> ChunkCoder:
    """The coder of a preset."""
    return _CODERS[preset]


def plan(tensors: Iterable[Sequence[Array]], target: int) -> Iterator[list[Piece]]:
    """The pieces of each chunk; every chunk but the last has at least ``target`` values.

    Tensors are taken as they are needed, so that the arrays of all need not exist at once.
    """
    current: list[Piece] = []
    held = 0
    for arrays in tensors:
        for group in range(max((array.groups for array in arrays), default=0)):
            pieces = [Piece.of(array, group) for array in arrays if group < array.groups]
            current += pieces
            held += sum(piece.layout.size for piece in pieces)
            if held >= target:
                yield current
                current, held = [], 0
    if current:
        yield current


def check_preset(preset: str) -> None:
    """Raise RecipeError for a preset that does not exist."""
    if preset not in PRESETS:
        raise RecipeError(f"there is no preset '{preset}'; use one of {', '.join(PRESETS)}")
