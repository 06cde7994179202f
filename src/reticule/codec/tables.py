"""Tables of frequencies for rANS: made from counts, coded tightly, read with care.

All of it is integer arithmetic, so that the same counts give the same table, and with
it the same file, on every machine.

A frequency is stored as a *level*: a small floating-point number with a few bits of
precision, so that frequent symbols, where a per cent more or less costs nothing, take as
few bits as rare ones.  Levels of neighbours are alike, and their differences short.

>>> counts = np.array([0, 1000, 500, 20, 0, 1])
>>> table = plan_table(counts)
>>> table.frequencies.tolist(), table.scale_bits
([0, 335, 168, 6, 0, 3], 9)
>>> data = np.frombuffer(write_table(table), np.uint8)
>>> read_table(data, alphabet=6)[1].tolist()
[0, 335, 168, 6, 0, 3]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from reticule import _native
from reticule.codec.bits import BitWriter

MAX_SCALE_BITS = 14
MAX_FREQUENCY_OF_BYTES = (1 << 12) - 1  # for alphabets of up to 256
_PRECISIONS = range(8)
_ORDERS = range(8)
_EXPONENTS = 16
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


@dataclass(frozen=True)
class Table:
    """Frequencies of a whole alphabet, and how they are stored.

    ``frequencies`` (alphabet,), uint32, sum to 2^scale_bits; ``levels`` are those of the
    symbols that occur, with ``precision`` bits behind the leading one; ``bits`` is about
    what table and payload take together.
    """

    frequencies: np.ndarray
    scale_bits: int
    precision: int
    levels: np.ndarray
    bits: int


def plan_table(counts: np.ndarray) -> Table:
    """The scale and the precision that make table and payload together smallest.

    Takes the counts of the whole alphabet, at least two of them not zero.
    """
    used = np.flatnonzero(counts)
    occurring = counts[used].astype(np.int64)
    best: Table | None = None
    least = (used.size - 1).bit_length() or 1
    for scale_bits in range(least, _finest_scale(int(occurring.sum()), least) + 1):
        before = None
        for precision in _PRECISIONS:
            levels = _nearest_levels(occurring, scale_bits, precision)
            frequencies = np.empty(used.size, np.uint32)
            _native.share_slots(_weights(precision)[levels], scale_bits, frequencies)
            if counts.size <= 256 and int(frequencies.max()) > MAX_FREQUENCY_OF_BYTES:
                continue
            logs = (scale_bits << LOG_UNIT) - _log_table()[frequencies - 1]
            payload = int((occurring * logs).sum() >> LOG_UNIT) + scale_bits
            coded = _differences(levels, scale_bits, precision)
            bits = payload + _golomb_total(coded, _level_order(precision))
            if best is None or bits < best.bits:
                best = Table(frequencies, scale_bits, precision, levels, bits)
            if before is not None and bits > before:
                break
            before = bits
    assert best is not None
    whole = np.zeros(counts.size, np.uint32)
    whole[used] = best.frequencies
    bits = best.bits + _used_bits(used, counts.size) + 7
    return Table(whole, best.scale_bits, best.precision, best.levels, bits)


def _finest_scale(count: int, least: int) -> int:
    """No finer than is worth a decoder's time to build its table: a slot for four symbols."""
    return min(max(12, least, count.bit_length() - 3), MAX_SCALE_BITS)


def write_table(table: Table) -> bytes:
    """The bytes that :func:`read_table` reads."""
    coded = _differences(table.levels, table.scale_bits, table.precision)
    bits = BitWriter()
    bits.put(table.scale_bits, 4)
    bits.put(table.precision, 3)
    _put_used(bits, np.flatnonzero(table.frequencies), table.frequencies.size)
    for value in coded.tolist():
        bits.golomb(value, _level_order(table.precision))
    return bits.bytes()


def read_table(data: np.ndarray, alphabet: int) -> tuple[int, np.ndarray, int]:
    """Scale in bits, frequencies (alphabet,), uint32, and how many bytes of ``data`` they took.

    ValueError unless it begins with a valid table for this alphabet, which is at least 2.
    """
    frequencies = np.empty(alphabet, np.uint32)
    scale_bits, size = _native.read_frequencies(data, frequencies)
    return scale_bits, frequencies, size


# Which symbols occur --------------------------------------------------------------------------


def _put_used(bits: BitWriter, used: np.ndarray, alphabet: int) -> None:
    """Whether all symbols occur; if not, first and last, and what lies between them."""
    bits.put(int(used.size == alphabet), 1)
    if used.size == alphabet:
        return
    first, last = int(used[0]), int(used[-1])
    width = (alphabet - 1).bit_length()
    bits.put(first, width)
    bits.put(last, width)
    all_between = last - first + 1 == used.size
    bits.put(int(all_between), 1)
    if not all_between:
        skipped = np.diff(used) - 1
        order = _best_order(skipped)
        bits.put(order, 3)
        for value in skipped.tolist():
            bits.golomb(value, order)


def _used_bits(used: np.ndarray, alphabet: int) -> int:
    if used.size == alphabet:
        return 1
    skipped = np.diff(used) - 1
    steps = 3 + _golomb_total(skipped, _best_order(skipped)) if skipped.any() else 0
    return 2 + 2 * (alphabet - 1).bit_length() + steps


def _golomb_total(values: np.ndarray, order: int) -> int:
    lengths = np.frexp((values + (1 << order)).astype(float))[1]
    return int((2 * lengths.astype(np.int64) - 1 - order).sum())


def _best_order(values: np.ndarray) -> int:
    return min(_ORDERS, key=lambda order: _golomb_total(values, order))


# Levels ---------------------------------------------------------------------------------------


@cache
def _weights(precision: int) -> np.ndarray:
    """The weight of every level: leading one, precision bits, shifted by the rest."""
    exponents, fractions = np.divmod(np.arange(_EXPONENTS << precision), 1 << precision)
    return (((1 << precision) + fractions) << exponents).astype(np.uint64)


def _level_order(precision: int) -> int:
    """Order of the Golomb codes of differences; what suits trained weights."""
    return max(precision - 1, 0)


def _nearest_levels(counts: np.ndarray, scale_bits: int, precision: int) -> np.ndarray:
    """Levels for positive counts: a symbol's share of the slots, less the one it has anyway."""
    total = int(counts.sum())
    weights = _weights(precision).astype(np.int64)
    twice = np.maximum((counts << scale_bits) - total, 0) << (precision + 1)
    return np.searchsorted((weights[1:] + weights[:-1]) * total, twice)


def _differences(levels: np.ndarray, scale_bits: int, precision: int) -> np.ndarray:
    """Levels as differences from one to the next, zigzag; the first from half of all slots."""
    steps = np.diff(levels, prepend=(scale_bits - 1) << precision)
    return np.where(steps < 0, -2 * steps - 1, 2 * steps)
