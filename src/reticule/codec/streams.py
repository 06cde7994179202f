"""Streams: a sequence of small integers, coded by whichever coder needs the fewest bytes.

=== ============ =================================================================
tag coder        what it is for
=== ============ =================================================================
0   bits         noise: fixed width, no table
1   constant     one symbol over and over
2   huffman      canonical Huffman; a table look-up per symbol
3   rans         static rANS: as close to the entropy as its table allows
=== ============ =================================================================

To add a coder, write the two methods of :class:`Coder` and add it to ``REGISTRY``.

>>> import numpy as np
>>> symbols = np.array([3] * 90 + [1] * 10, np.uint16)
>>> data = encode(symbols, alphabet=4)
>>> len(data)
12
>>> reader = ByteReader(data, "example")
>>> bool((decode(reader, count=100, alphabet=4) == symbols).all())
True
"""

from __future__ import annotations

from collections.abc import Callable
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
        """Bytes for uint16 symbols with the given histogram; None if it cannot or will not pay."""

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        """``count`` symbols (uint16), each below ``alphabet``; FormatError if there are none."""


def encode(symbols: np.ndarray, alphabet: int) -> bytes:
    """The shortest coding of symbols below ``alphabet``; nothing for no symbols."""
    if not 1 <= alphabet <= MAX_ALPHABET:
        raise ValueError(f"an alphabet of {alphabet}; 1 to {MAX_ALPHABET} are possible")
    if not symbols.size:
        return b""
    symbols = np.ascontiguousarray(symbols, np.uint16).ravel()
    counts = np.bincount(symbols, minlength=alphabet)
    if counts.size > alphabet:
        raise ValueError(f"a symbol is not below {alphabet}")
    coded = (
        bytes([tag]) + data
        for tag, coder in REGISTRY.items()
        if (data := coder.encode(symbols, counts)) is not None
    )
    return min(coded, key=len)  # the first of equals: the one that decodes faster


def decode(reader: ByteReader, count: int, alphabet: int, limits: Limits = _DEFAULT) -> np.ndarray:
    """Inverse of :func:`encode`: uint16 symbols, all below ``alphabet``."""
    if count == 0:
        return np.empty(0, np.uint16)
    if not 1 <= alphabet <= MAX_ALPHABET:
        raise reader.fail(Fault.BAD_STREAM, f"an alphabet of {alphabet}")
    tag = reader.byte()
    if tag not in REGISTRY:
        raise reader.fail(Fault.UNKNOWN_CODER, f"tag {tag}")
    return REGISTRY[tag].decode(reader, count, alphabet, limits)


def estimate_bits(counts: np.ndarray) -> int:
    """About how many bits a stream with this histogram takes, table included; integer."""
    used = int(np.count_nonzero(counts))
    fixed = int(counts.sum()) * max(counts.size - 1, 1).bit_length()
    return min(fixed, tables.entropy_bits(counts) + 6 * used + 32)


def _decoded(reader: ByteReader, count: int, native: Callable[[np.ndarray], None]) -> np.ndarray:
    """Let a native decoder fill an array; its complaints become FormatErrors."""
    symbols = np.empty(count, np.uint16)
    try:
        native(symbols)
    except ValueError as problem:
        raise reader.fail(Fault.BAD_STREAM, str(problem)) from None
    return symbols


def _chunk(reader: ByteReader) -> ByteReader:
    """The part of the bytes that belongs to one stream, its length first."""
    return ByteReader(reader.raw(reader.varint()), reader.where)


def _with_length(data: bytes) -> bytes:
    out = ByteWriter()
    out.varint(len(data))
    out.raw(data)
    return out.bytes()


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
        symbols = _decoded(reader, count, lambda out: _native.unpack_bits(payload, width, out))
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
        return np.full(count, symbol, np.uint16)


class _Huffman:
    """Length, table of code lengths, codes."""

    def encode(self, symbols: np.ndarray, counts: np.ndarray) -> bytes | None:
        if not _pays(counts):
            return None
        lengths = tables.huffman_lengths(counts)
        out = np.empty((int((counts * lengths).sum()) + 7) // 8, np.uint8)
        _native.huffman_encode(symbols, lengths, out)
        return _with_length(tables.write_lengths(lengths) + out.tobytes())

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        chunk = _chunk(reader)
        lengths = tables.read_lengths(chunk, alphabet)
        payload = np.frombuffer(chunk.raw(chunk.left), np.uint8)
        if count * int(lengths[lengths > 0].min()) > 8 * payload.size:
            raise reader.fail(Fault.BAD_STREAM, f"{payload.size} bytes for {count} symbols")
        return _decoded(reader, count, lambda out: _native.huffman_decode(payload, lengths, out))


class _Rans:
    """Length, table of frequencies, bytes of the coder's state."""

    def encode(self, symbols: np.ndarray, counts: np.ndarray) -> bytes | None:
        if not _pays(counts):
            return None
        scale_bits, frequencies, _ = tables.plan_frequencies(counts)
        out = np.empty(2 * symbols.size + 8, np.uint8)
        used = _native.rans_encode(symbols, frequencies, scale_bits, out)
        if not self._plausible(symbols.size, used, scale_bits, frequencies):
            return None
        payload = out[out.size - used :].tobytes()
        return _with_length(tables.write_frequencies(scale_bits, frequencies) + payload)

    def decode(self, reader: ByteReader, count: int, alphabet: int, limits: Limits) -> np.ndarray:
        chunk = _chunk(reader)
        scale_bits, frequencies = tables.read_frequencies(chunk, alphabet)
        payload = np.frombuffer(chunk.raw(chunk.left), np.uint8)
        if not self._plausible(count, payload.size, scale_bits, frequencies):
            raise reader.fail(Fault.BAD_STREAM, f"{payload.size} bytes for {count} symbols")
        return _decoded(
            reader,
            count,
            lambda out: _native.rans_decode(payload, frequencies, scale_bits, out),
        )

    @staticmethod
    def _plausible(count: int, size: int, scale_bits: int, frequencies: np.ndarray) -> bool:
        """Whether so few bytes can hold so many symbols.

        A symbol of frequency f takes log2(M / f) bits, which is more than (M - f) / M; the
        64 bits allow for the coder's state.
        """
        scale = 1 << scale_bits
        return count * (scale - int(frequencies.max())) <= scale * (8 * size + 64)


REGISTRY: dict[int, Coder] = {0: _Bits(), 1: _Constant(), 2: _Huffman(), 3: _Rans()}
