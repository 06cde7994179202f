"""Code tables of the entropy coders: made from counts, coded tightly, read with care.

All of it is integer arithmetic, so that the same counts give the same table, and with
it the same file, on every machine.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from reticule import _native
from reticule.codec.bits import BitReader, BitWriter, ByteReader
from reticule.errors import Fault

MAX_SCALE_BITS = 14
MAX_CODE_LENGTH = 15
LOG_UNIT = 12  # logarithms are in steps of 2^-12 bits


@cache
def _log_table() -> np.ndarray:
    """log2 of 1 .. 2^14 in units of 2^-12, rounded down, by repeated squaring."""
    numbers = np.arange(1, (1 << MAX_SCALE_BITS) + 1, dtype=np.uint64)
    exponents = np.frexp(numbers.astype(float))[1].astype(np.uint64) - np.uint64(1)
    mantissas = numbers << (np.uint64(31) - exponents)  # in [2^31, 2^32)
    logs = exponents
    for _ in range(LOG_UNIT):
        mantissas = mantissas * mantissas >> np.uint64(31)
        carry = mantissas >> np.uint64(32)
        mantissas >>= carry
        logs = logs << np.uint64(1) | carry
    return logs.astype(np.int64)


def log2_fixed(numbers: np.ndarray) -> np.ndarray:
    """log2 of positive integers in units of 2^-12 bits; exact to 14 leading bits.

    >>> (log2_fixed(np.array([1, 2, 3, 1 << 20])) / 4096).round(2).tolist()
    [0.0, 1.0, 1.58, 20.0]
    """
    numbers = np.asarray(numbers, np.int64)
    shifts = np.maximum(np.frexp(numbers.astype(float))[1].astype(np.int64) - MAX_SCALE_BITS, 0)
    return _log_table()[(numbers >> shifts) - 1] + (shifts << LOG_UNIT)


def entropy_bits(counts: np.ndarray) -> int:
    """Bits that an ideal coder with a free table needs for symbols with these counts."""
    used = counts[counts > 0].astype(np.int64)
    if not used.size:
        return 0
    total = log2_fixed(np.array([used.sum()]))[0]
    return int((used * (total - log2_fixed(used))).sum() >> LOG_UNIT)


# Which symbols occur --------------------------------------------------------------------------


def _symbol_width(alphabet: int) -> int:
    return max(alphabet - 1, 1).bit_length()


def _put_used(bits: BitWriter, used: np.ndarray, alphabet: int) -> None:
    """First and last symbol that occur and, if some between them do not, the steps."""
    first, last = int(used[0]), int(used[-1])
    width = _symbol_width(alphabet)
    bits.put(first, width)
    bits.put(last, width)
    all_used = last - first + 1 == used.size
    bits.put(int(all_used), 1)
    if not all_used:
        skipped = np.diff(used) - 1
        order = _best_order(skipped)
        bits.put(order, 3)
        for value in skipped.tolist():
            bits.golomb(value, order)


def _used_bits(used: np.ndarray, alphabet: int) -> int:
    skipped = np.diff(used) - 1
    steps = 3 + _golomb_total(skipped, _best_order(skipped)) if skipped.any() else 0
    return 2 * _symbol_width(alphabet) + 1 + steps


def _get_used(bits: BitReader, reader: ByteReader, alphabet: int) -> list[int]:
    width = _symbol_width(alphabet)
    first, last = bits.get(width), bits.get(width)
    if not first < last < alphabet:
        raise reader.fail(Fault.BAD_TABLE, f"symbols {first} to {last} of {alphabet}")
    if bits.get(1):
        return list(range(first, last + 1))
    order = bits.get(3)
    used = [first]
    while used[-1] < last:
        used.append(used[-1] + 1 + bits.golomb(order))
    if used[-1] != last:
        raise reader.fail(Fault.BAD_TABLE, f"symbol {used[-1]} is behind the last, {last}")
    return used


def _golomb_total(values: np.ndarray, order: int) -> int:
    lengths = np.frexp((values + (1 << order)).astype(float))[1]
    return int((2 * lengths.astype(np.int64) - 1 - order).sum())


def _best_order(values: np.ndarray) -> int:
    return min(range(8), key=lambda order: _golomb_total(values, order))


# Frequencies for rANS -------------------------------------------------------------------------


def scaled_frequencies(counts: np.ndarray, scale_bits: int) -> np.ndarray:
    """Frequencies in proportion to positive counts, at least 1 each, summing to 2^scale_bits.

    Largest remainders are rounded up; where the least frequencies of 1 have taken too much,
    it is given back where that costs the fewest bits.

    >>> scaled_frequencies(np.array([1, 1000, 500]), 4).tolist()
    [1, 10, 5]
    """
    counts = counts.astype(np.int64)
    total, scale = int(counts.sum()), 1 << scale_bits
    shares = counts * scale
    frequencies = np.maximum(shares // total, 1)
    missing = scale - int(frequencies.sum())
    if missing > 0:
        remainders = np.where(shares >= total, shares % total, -1)
        frequencies[np.argsort(-remainders, kind="stable")[:missing]] += 1
    for _ in range(-missing):
        price = np.where(frequencies > 1, counts / (2 * frequencies - 1), np.inf)
        frequencies[np.argmin(price)] -= 1
    return frequencies


def plan_frequencies(counts: np.ndarray) -> tuple[int, np.ndarray, int]:
    """The scale that makes table and payload together smallest.

    Takes the counts of the whole alphabet, of which at least two are not zero.  Returns
    the scale in bits, the frequencies of the whole alphabet, and the estimated bits.
    """
    used = np.flatnonzero(counts)
    occurring = counts[used].astype(np.int64)
    base = _used_bits(used, counts.size) + 4 + 3
    best: tuple[int, np.ndarray, int] | None = None
    worse = 0
    for scale_bits in range((used.size - 1).bit_length(), MAX_SCALE_BITS + 1):
        frequencies = scaled_frequencies(occurring, scale_bits)
        logs = (scale_bits << LOG_UNIT) - _log_table()[frequencies - 1]
        payload = int((occurring * logs).sum() >> LOG_UNIT) + scale_bits
        coded = frequencies[:-1] - 1
        table = _golomb_total(coded, _best_order(coded))
        cost = base + table + payload
        if best is None or cost < best[2]:
            best, worse = (scale_bits, frequencies, cost), 0
        else:
            worse += 1
            if worse == 3:
                break
    assert best is not None
    whole = np.zeros(counts.size, np.uint32)
    whole[used] = best[1]
    return best[0], whole, best[2]


def write_frequencies(scale_bits: int, frequencies: np.ndarray) -> bytes:
    """The table that :func:`read_frequencies` reads."""
    used = np.flatnonzero(frequencies)
    coded = frequencies[used[:-1]].astype(np.int64) - 1  # the last follows from the sum
    order = _best_order(coded)
    bits = BitWriter()
    bits.put(scale_bits, 4)
    _put_used(bits, used, frequencies.size)
    bits.put(order, 3)
    for value in coded.tolist():
        bits.golomb(value, order)
    return bits.bytes()


def read_frequencies(reader: ByteReader, alphabet: int) -> tuple[int, np.ndarray]:
    """Scale and frequencies of the whole alphabet; BAD_TABLE unless they add up."""
    bits = BitReader(reader)
    scale_bits = bits.get(4)
    if not 1 <= scale_bits <= MAX_SCALE_BITS:
        raise reader.fail(Fault.BAD_TABLE, f"a scale of {scale_bits} bits")
    used = _get_used(bits, reader, alphabet)
    order = bits.get(3)
    coded = [bits.golomb(order) + 1 for _ in used[:-1]]
    bits.finish()
    last = (1 << scale_bits) - sum(coded)
    if last < 1:
        raise reader.fail(Fault.BAD_TABLE, "frequencies add up to too much")
    frequencies = np.zeros(alphabet, np.uint32)
    frequencies[used] = [*coded, last]
    return scale_bits, frequencies


# Code lengths for Huffman ---------------------------------------------------------------------


def huffman_lengths(counts: np.ndarray) -> np.ndarray:
    """Optimal code lengths of at most 15 bits (uint8); at least two counts are not zero."""
    lengths = np.empty(counts.size, np.uint8)
    _native.huffman_lengths(counts.astype(np.uint64), MAX_CODE_LENGTH, lengths)
    return lengths


def write_lengths(lengths: np.ndarray) -> bytes:
    """The table that :func:`read_lengths` reads: differences from one length to the next."""
    used = np.flatnonzero(lengths)
    bits = BitWriter()
    _put_used(bits, used, lengths.size)
    before = min(_symbol_width(lengths.size), MAX_CODE_LENGTH)
    for length in lengths[used].tolist():
        step = length - before
        bits.golomb(2 * step if step >= 0 else -2 * step - 1, 0)
        before = length
    return bits.bytes()


def read_lengths(reader: ByteReader, alphabet: int) -> np.ndarray:
    """Code lengths of the whole alphabet; BAD_TABLE unless they make a complete code."""
    bits = BitReader(reader)
    used = _get_used(bits, reader, alphabet)
    found = []
    length = min(_symbol_width(alphabet), MAX_CODE_LENGTH)
    for _ in used:
        step = bits.golomb(0)
        length += -(step + 1) // 2 if step % 2 else step // 2
        if not 1 <= length <= MAX_CODE_LENGTH:
            raise reader.fail(Fault.BAD_TABLE, f"a code of {length} bits")
        found.append(length)
    bits.finish()
    if sum(1 << (MAX_CODE_LENGTH - length) for length in found) != 1 << MAX_CODE_LENGTH:
        raise reader.fail(Fault.BAD_TABLE, "the code is not complete")
    lengths = np.zeros(alphabet, np.uint8)
    lengths[used] = found
    return lengths
