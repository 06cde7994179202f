"""The preset ``instant``: every array as streams of symbols under static tables.

Decoding is a table look-up per symbol.  docs/format.md says how arrays become symbols.

>>> import numpy as np
>>> from reticule.codec.arrays import Array, Kind, Layout, Piece
>>> array = Array(Kind.INTEGERS, Layout(1, 4, 1, 1), np.array([0, -1, 3, 0], np.int32), 9)
>>> StaticCoder().encode([Piece.of(array, 0)])[1]
[4]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reticule import _native
from reticule.codec import streams
from reticule.codec.arrays import Kind, Piece
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.limits import Limits
from reticule.codec.positions import MAX_STEP_BITS, encode_positions, gaps_to_rows
from reticule.errors import Fault


class StaticCoder:
    """Codes the pieces of a chunk one after the other."""

    def encode(self, pieces: Sequence[Piece]) -> tuple[bytes, list[int]]:
        parts = [_WRITERS[piece.array.kind](piece) for piece in pieces]
        return b"".join(parts), [len(part) for part in parts]

    def decode(self, reader: ByteReader, pieces: Sequence[Piece], limits: Limits) -> list[int]:
        sizes = []
        for piece in pieces:
            before = reader.at
            _READERS[piece.array.kind](piece, reader, limits)
            piece.spread()
            sizes.append(reader.at - before)
        reader.finish()
        return sizes


# Integers: zigzag symbols, in one stream if there are few, else byte by byte -----------------


def _write_integers(piece: Piece) -> bytes:
    values = piece.stored()
    symbols = values << 1 ^ values >> 31  # at most 2^25
    top = int(symbols.max(initial=0))
    out = ByteWriter()
    out.varint(top)
    for shift, alphabet in _planes(top):
        plane = symbols if alphabet > 256 else symbols >> shift & 0xFF
        out.raw(streams.encode(plane.astype(np.uint16), alphabet))
    return out.bytes()


def _read_integers(piece: Piece, reader: ByteReader, limits: Limits) -> None:
    top = reader.varint()
    if (top + 1) // 2 > piece.array.largest:
        raise reader.fail(Fault.BAD_INDEX, f"an integer of {(top + 1) // 2}")
    count, planes = piece.count, _planes(top)
    values = piece.data if piece.mask is None else np.empty(count, np.int32)
    if len(planes) == 1:  # the alphabet bounds the symbols
        _native.unzigzag(streams.decode(reader, count, top + 1, limits), values)
    else:
        symbols = np.zeros(count, np.int32)
        for shift, alphabet in planes:
            symbols |= streams.decode(reader, count, alphabet, limits).astype(np.int32) << shift
        if int(symbols.max(initial=0)) > top:
            raise reader.fail(Fault.BAD_INDEX, f"a symbol is larger than {top}")
        values[:] = symbols >> 1 ^ -(symbols & 1)
    if piece.mask is not None:
        piece.fill(values)


def _planes(top: int) -> list[tuple[int, int]]:
    """Shift and alphabet of each stream of symbols up to ``top``."""
    if top == 0:
        return []
    if top < streams.MAX_ALPHABET:
        return [(0, top + 1)]
    shifts = range(0, top.bit_length(), 8)
    return [(shift, min(top >> shift, 255) + 1) for shift in shifts]


# Labels: one stream of symbols, which are the labels ------------------------------------------


def _write_labels(piece: Piece) -> bytes:
    out = ByteWriter()
    top = int(piece.data.max(initial=0))
    out.varint(top)
    if top:
        out.raw(streams.encode(piece.data.astype(np.uint16), top + 1))
    return out.bytes()


def _read_labels(piece: Piece, reader: ByteReader, limits: Limits) -> None:
    top = reader.varint()
    if top > piece.array.largest:
        raise reader.fail(Fault.BAD_INDEX, f"a label of {top}")
    piece.data[:] = streams.decode(reader, piece.count, top + 1, limits) if top else 0


# Masks: relative positions --------------------------------------------------------------------


def _write_mask(piece: Piece) -> bytes:
    rows, columns = piece.layout.rows, piece.layout.columns
    places = np.flatnonzero(piece.stored())
    if piece.mask is not None:  # positions among those that the outer mask leaves
        rows, columns = 1, piece.count
    relative = encode_positions(places, rows, columns)
    out = ByteWriter()
    out.raw(bytes([relative.step.bit_length() - 1 | 16 * relative.by_columns]))
    out.varint(places.size)
    out.varint(relative.symbols.size - places.size)
    out.raw(relative.stream)
    return out.bytes()


def _read_mask(piece: Piece, reader: ByteReader, limits: Limits) -> None:
    rows, columns = piece.layout.rows, piece.layout.columns
    if piece.mask is not None:
        rows, columns = 1, piece.count
    head = reader.byte()
    bits, by_columns = head & 15, head >> 4
    if bits > MAX_STEP_BITS or by_columns > 1:
        raise reader.fail(Fault.BAD_STREAM, f"a position code of kind {head}")
    count, escapes = reader.varint(), reader.varint()
    if count + (escapes << bits) > rows * columns or (escapes and not count):
        raise reader.fail(Fault.BAD_INDEX, f"{count} positions and {escapes} escapes")
    symbols = streams.decode(reader, count + escapes, (1 << bits) + 1, limits)
    try:
        indptr, found = gaps_to_rows(symbols, 1 << bits, rows, columns, count, bool(by_columns))
    except ValueError as problem:
        raise reader.fail(Fault.BAD_INDEX, str(problem)) from None
    mask = np.zeros(rows * columns, np.uint8)
    counts: np.ndarray = np.diff(indptr.astype(np.int64))
    mask[np.repeat(np.arange(rows) * columns, counts) + found] = 1
    piece.fill(mask)


# Floats: each byte of the numbers is a stream of its own, lowest byte first ------------------
# Signs and exponents are predictable, mantissas are not.


def _write_floats(piece: Piece) -> bytes:
    stored = piece.stored()
    little = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    planes = np.ascontiguousarray(little).view(np.uint8).reshape(-1, stored.itemsize).T
    return b"".join(streams.encode(plane, 256) for plane in planes)


def _read_floats(piece: Piece, reader: ByteReader, limits: Limits) -> None:
    count, width = piece.count, piece.data.itemsize
    first = streams.decode(reader, count, 256, limits)  # proves that there are so many
    planes = np.empty((count, width), np.uint8)
    planes[:, 0] = first
    for index in range(1, width):
        planes[:, index] = streams.decode(reader, count, 256, limits)
    piece.fill(planes.reshape(-1).view(f"<u{width}"))


_WRITERS = {
    Kind.INTEGERS: _write_integers,
    Kind.MASK: _write_mask,
    Kind.FLOATS: _write_floats,
    Kind.LABELS: _write_labels,
}
_READERS = {
    Kind.INTEGERS: _read_integers,
    Kind.MASK: _read_mask,
    Kind.FLOATS: _read_floats,
    Kind.LABELS: _read_labels,
}
