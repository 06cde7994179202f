"""Positions of a sparse tensor as relative indices, after Deep Compression.

The tensor is read as a matrix, along its rows or along its columns.  A symbol below the
step (a power of two) is the number of zeros before the next stored weight; the symbol
that equals the step is the escape: that many zeros, and no weight yet.  In the paper
(Han, Mao & Dally 2016, section 3.1) a filler is a stored zero weight, so the code of the
values must keep an entry for zero; here the escape lives among the gaps and values stay
free of fillers.

>>> chosen = encode_positions(np.array([1, 2, 40]), rows=8, cols=8)
>>> chosen.symbols.size >= 3
True
>>> indptr, columns = gaps_to_rows(
...     chosen.symbols, chosen.step, 8, 8, count=3, by_columns=chosen.by_columns
... )
>>> indptr.tolist(), columns.tolist()
([0, 2, 2, 2, 2, 2, 3, 3, 3], [1, 2, 0])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule import _native
from reticule.codec import streams

MAX_STEP_BITS = 11  # an alphabet of 2049 symbols
_TRIED = 3  # candidates that are coded in full, after ranking all by an estimate


@dataclass(frozen=True)
class Relative:
    """Positions as symbols: how they were scanned, and their coding as a stream."""

    symbols: np.ndarray
    step: int
    by_columns: bool
    stream: bytes


def encode_positions(positions: np.ndarray, rows: int, cols: int) -> Relative:
    """The step and the scan order that need the fewest bytes.

    ``positions`` are flat, ascending, in C order.
    """
    orders = {False: _gaps(positions)}
    if rows > 1 and cols > 1:
        orders[True] = _gaps(np.sort(positions % cols * rows + positions // cols))
    ranked = sorted(
        (streams.estimate_bits(_histogram(values, counts, bits)), bits, by_columns)
        for by_columns, gaps in orders.items()
        for values, counts in [np.unique(gaps, return_counts=True)]
        for bits in range(MAX_STEP_BITS + 1)
    )
    tried = []
    for _, bits, by_columns in ranked[:_TRIED]:
        symbols = _symbols(orders[by_columns], bits)
        stream = streams.encode(symbols, (1 << bits) + 1)
        tried.append(Relative(symbols, 1 << bits, by_columns, stream))
    # A long run of escapes is cheap in bytes but not in time: fewer symbols break a tie.
    return min(tried, key=lambda relative: (len(relative.stream), relative.symbols.size))


def gaps_to_rows(
    symbols: np.ndarray, step: int, rows: int, cols: int, count: int, by_columns: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Row pointers (rows + 1, uint32) and columns (count, uint16 or uint32) of the positions.

    ValueError if a position is outside of the matrix or there are not ``count`` of them.
    """
    indptr = np.empty(rows + 1, np.uint32)
    columns = np.empty(count, np.uint16 if cols <= 1 << 16 else np.uint32)
    _native.gaps_to_rows(symbols, step, rows, cols, by_columns, indptr, columns)
    return indptr, columns


def _gaps(positions: np.ndarray) -> np.ndarray:
    """Zeros before each position since the one before."""
    return np.diff(positions.astype(np.int64), prepend=-1) - 1


def _histogram(values: np.ndarray, counts: np.ndarray, bits: int) -> np.ndarray:
    """How often each symbol occurs if these gaps are coded with a step of 2^bits."""
    step = 1 << bits
    histogram = np.zeros(step + 1, np.int64)
    np.add.at(histogram, values & (step - 1), counts)
    histogram[step] = (counts * (values >> bits)).sum()
    return histogram


def _symbols(gaps: np.ndarray, bits: int) -> np.ndarray:
    """Gaps as escapes, followed by what is left."""
    step = 1 << bits
    ends = np.cumsum((gaps >> bits) + 1)
    symbols = np.full(int(ends[-1]) if ends.size else 0, step, np.uint16)
    symbols[ends - 1] = gaps & (step - 1)
    return symbols
