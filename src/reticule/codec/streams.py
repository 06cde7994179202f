"""Streams: a sequence of small integers, coded by whichever coder needs the fewest bytes.

=== ============ =================================================================
tag coder        what it is for
=== ============ =================================================================
0   bits         noise: fixed width, no table
1   constant     one symbol over and over
2   rans         static rANS: as close to the entropy as its table allows
3   rans, lanes  the same in four lanes: for long streams, three times as fast
=== ============ =================================================================

To add a coder, write the two methods of :class:`Coder` and add it to ``REGISTRY``.

>>> import numpy as np
>>> symbols = np.array([3] * 90 + [1] * 10, np.uint16)
>>> data = encode(symbols, alphabet=4)
>>> len(data)
13
>>> reader = ByteReader(data, "example")
>>> bool((decode(reader, count=100, alphabet=4) == symbols).all())
True
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reticule import _native
from reticule.codec import tables
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.limits import Limits
from reticule.errors import Fault

MAX_ALPHABET = 4096
_DEFAULT = Limits()


class Coder(Protocol):
    """One way to code a stream of at least one symbol."""

    def encode(self, symbols: np.ndarray, counts: np.ndarray) -> bytes | None:
        """Bytes for symbols with the given histogram; None if it cannot or will not pay.

        Symbols are uint8 if the histogram has at most 256 entries, else uint16.
        """

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        """``count`` symbols, each below ``alphabet``; FormatError if there are none."""


def encode(symbols: np.ndarray, alphabet: int) -> bytes:
    """The shortest coding of symbols below ``alphabet``; nothing for no symbols."""
    if not 1 <= alphabet <= MAX_ALPHABET:
        raise ValueError(f"an alphabet of {alphabet}; 1 to {MAX_ALPHABET} are possible")
    if not symbols.size:
        return b""
    counts = np.bincount(symbols.ravel(), minlength=alphabet)
    if counts.size > alphabet:
        raise ValueError(f"a symbol is not below {alphabet}")
    symbols = np.ascontiguousarray(symbols, symbol_type(alphabet)).ravel()
    coded = (
        bytes([tag]) + data
        for tag, coder in REGISTRY.items()
        if (data := coder.encode(symbols, counts)) is not None
    )
    return min(coded, key=len)  # the first of equals: the one that decodes faster


def decode(reader: ByteReader, count: int, alphabet: int, limits: Limits = _DEFAULT) -> np.ndarray:
    """Inverse of :func:`encode`: symbols of the :func:`symbol_type`, all below ``alphabet``."""
    if not 1 <= alphabet <= MAX_ALPHABET:
        raise reader.fail(Fault.BAD_STREAM, f"an alphabet of {alphabet}")
    if count == 0:
        return np.empty(0, symbol_type(alphabet))
    tag = reader.byte()
    if tag not in REGISTRY:
        raise reader.fail(Fault.UNKNOWN_CODER, f"tag {tag}")
    return REGISTRY[tag].decode(reader, count, alphabet, limits)


def symbol_type(alphabet: int) -> type[np.uint8] | type[np.uint16]:
    """uint8 for alphabets of up to 256, else uint16."""
    return np.uint8 if alphabet <= 256 else np.uint16


def estimate_bits(counts: np.ndarray) -> int:
    """About how many bits a stream with this histogram takes, table included; integer."""
    used = int(np.count_nonzero(counts))
    fixed = int(counts.sum()) * max(counts.size - 1, 1).bit_length()
    return min(fixed, tables.entropy_bits(counts) + 4 * used + 32)


def _decoded(
    reader: ByteReader, count: int, alphabet: int, native: Callable[[np.ndarray], None]
) -> np.ndarray:
    """Let a native decoder fill an array; its complaints become FormatErrors."""
    symbols = np.empty(count, symbol_type(alphabet))
    try:
        native(symbols)
    except ValueError as problem:
        raise reader.fail(Fault.BAD_STREAM, str(problem)) from None
    return symbols


def _pays(counts: np.ndarray) -> bool:
    """Whether an entropy coder could beat fixed width by at least its table."""
    used = int(np.count_nonzero(counts))
    fixed = int(counts.sum()) * max(counts.size - 1, 1).bit_length()
    return used > 1 and tables.entropy_bits(counts) + used < fixed


class _Bits:
    """Fixed width; the width follows from the alphabet, the length from the count."""

    def encode(self, symbols: np.ndarray, counts: np.ndarray) -> bytes | None:
        width = (counts.size - 1).bit_length()
        if width == 0:
            return None
        out = np.empty((symbols.size * width + 7) // 8, np.uint8)
        _native.pack_bits(symbols, width, out)
        return out.tobytes()

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        width = (alphabet - 1).bit_length()
        if width == 0:
            raise reader.fail(Fault.BAD_STREAM, "a fixed width of no bits")
        payload = np.frombuffer(reader.raw((count * width + 7) // 8), np.uint8)
        symbols = _decoded(
            reader, count, alphabet, lambda out: _native.unpack_bits(payload, width, out)
        )
        if alphabet != 1 << width and int(symbols.max()) >= alphabet:
            raise reader.fail(Fault.BAD_INDEX, f"a symbol is not below {alphabet}")
        return symbols


class _Constant:
    """The symbol itself; how many is known from elsewhere."""

    def encode(self, symbols: np.ndarray, counts: np.ndarray) -> bytes | None:
        if counts[symbols[0]] != symbols.size or symbols.size > _DEFAULT.constant_run:
            return None
        out = ByteWriter()
        out.varint(int(symbols[0]))
        return out.bytes()

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        symbol = reader.varint()
        if symbol >= alphabet:
            raise reader.fail(Fault.BAD_INDEX, f"symbol {symbol} is not below {alphabet}")
        if count > limits.constant_run:
            raise reader.fail(Fault.TOO_LARGE, f"one symbol {count} times")
        return np.full(count, symbol, symbol_type(alphabet))


@dataclass(frozen=True)
class _Rans:
    """Length, table of frequencies, states and words of the lanes."""

    lanes: int
    sizes: range  # bits of payloads for which this number of lanes is chosen

    def encode(self, symbols: np.ndarray, counts: np.ndarray) -> bytes | None:
        if not _pays(counts) or tables.entropy_bits(counts) not in self.sizes:
            return None
        table = tables.plan_table(counts)
        out = np.empty(2 * symbols.size + 8 * self.lanes, np.uint8)
        used = _native.rans_encode(symbols, table.frequencies, table.scale_bits, self.lanes, out)
        if not _plausible(symbols.size, used, table.scale_bits, table.frequencies):
            return None
        data = tables.write_table(table)
        stream = ByteWriter()
        stream.varint(len(data) + used)
        stream.raw(data)
        stream.raw(out[out.size - used :].tobytes())
        return stream.bytes()

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        data = np.frombuffer(reader.raw(reader.varint()), np.uint8)
        try:
            scale_bits, frequencies, size = tables.read_table(data, alphabet)
        except ValueError as problem:
            raise reader.fail(Fault.BAD_TABLE, str(problem)) from None
        payload = data[size:]
        if not _plausible(count, payload.size, scale_bits, frequencies):
            raise reader.fail(Fault.BAD_STREAM, f"{payload.size} bytes for {count} symbols")
        return _decoded(
            reader,
            count,
            alphabet,
            lambda out: _native.rans_decode(payload, frequencies, scale_bits, self.lanes, out),
        )


def _plausible(count: int, size: int, scale_bits: int, frequencies: np.ndarray) -> bool:
    """Whether so few bytes can hold so many symbols.

    A symbol of frequency f takes log2(M / f) bits, which is more than (M - f) / M; the
    64 bits allow for the coder's state.
    """
    scale = 1 << scale_bits
    return count * (scale - int(frequencies.max())) <= scale * (8 * size + 64)


# Three more lanes take about 10 bytes: a quarter of a per cent where they begin to be used.
_LONG = 8 * 4096
REGISTRY: dict[int, Coder] = {
    0: _Bits(),
    1: _Constant(),
    2: _Rans(lanes=1, sizes=range(_LONG)),
    3: _Rans(lanes=4, sizes=range(_LONG, 1 << 62)),
}
