"""The presets ``fast`` and ``small``: one arithmetic-coded stream for each chunk.

The model behind it learns as it goes and carries on from array to array within the
chunk; it is native code (``context_coder.cpp``) and specified in docs/format.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from reticule import _native
from reticule.codec.arrays import Kind, Piece
from reticule.codec.bits import ByteReader
from reticule.codec.limits import Limits
from reticule.errors import Fault

_NO_MASK = np.empty(0, np.uint8)
_SMALL = 1


class AdaptiveCoder:
    """Codes the pieces of a chunk with the context model of a preset (0 fast, 1 small)."""

    def __init__(self, preset: int) -> None:
        self._preset = preset

    def encode(self, pieces: Sequence[Piece]) -> tuple[bytes, list[int]]:
        coder = _native.ContextEncoder(self._preset)
        ends = []
        for piece in pieces:
            layout, mask = piece.layout, _NO_MASK if piece.mask is None else piece.mask
            where = (layout.rows, layout.channels, layout.height, layout.width)
            if piece.array.kind is Kind.FLOATS:
                patterns = piece.stored().astype(np.uint32)
                if piece.mask is not None:
                    where = (1, patterns.size, 1, 1)
                coder.floats(patterns, 8 * piece.data.itemsize, *where, self._labels(piece))
            else:
                signed = piece.array.kind is Kind.INTEGERS
                values = piece.data.astype(np.int32)
                states, labels = piece.array.states, self._labels(piece)
                coder.integers(values, mask, *where, states, signed, labels)
            ends.append(coder.size())
        data = coder.finish()
        return data, _differences(ends, len(data))

    def decode(self, reader: ByteReader, pieces: Sequence[Piece], limits: Limits) -> list[int]:
        payload = np.frombuffer(reader.raw(reader.left), np.uint8)
        coder = _native.ContextDecoder(self._preset, payload)
        ends = []
        try:
            for piece in pieces:
                self._read(coder, piece, reader)
                piece.spread()
                ends.append(coder.position())
            coder.finish()
        except ValueError as problem:
            raise reader.fail(Fault.BAD_STREAM, str(problem)) from None
        return _differences(ends, payload.size)

    def _read(self, coder: _native.ContextDecoder, piece: Piece, reader: ByteReader) -> None:
        layout, array = piece.layout, piece.array
        mask = _NO_MASK if piece.mask is None else piece.mask
        where = (layout.rows, layout.channels, layout.height, layout.width)
        if array.kind is Kind.FLOATS:
            if piece.mask is not None:
                where = (1, piece.count, 1, 1)
            patterns = np.empty(prod(where), np.uint32)
            coder.floats(patterns, 8 * piece.data.itemsize, *where, self._labels(piece))
            piece.fill(patterns)
            return
        values = np.empty(layout.size, np.int32)
        signed, labels = array.kind is Kind.INTEGERS, self._labels(piece)
        coder.integers(values, mask, *where, array.states, signed, labels)
        if max(int(values.max(initial=0)), -int(values.min(initial=0))) > array.largest:
            raise reader.fail(Fault.BAD_INDEX, f"an integer is larger than {array.largest}")
        piece.data[:] = values

    def _labels(self, piece: Piece) -> np.ndarray | None:
        """Blocks of the values, for the preset that knows them; of floats, those stored."""
        labels = piece.labels if self._preset == _SMALL else None
        if labels is None or piece.array.kind is not Kind.FLOATS or piece.mask is None:
            return labels
        return labels[piece.mask.astype(bool)]


def _differences(ends: Sequence[int], total: int) -> list[int]:
    """Bytes of each piece, of the positions behind them; the last gets the rest.

    A position may be behind the end, as zeros at the end of a payload are left out.
    """
    if not ends:
        return []
    return np.diff([0, *(min(end, total) for end in ends[:-1]), total]).tolist()
