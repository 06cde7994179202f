"""Huffman coding of integers, plain and as in Deep Compression.

Plain: a canonical code for each layer (D. A. Huffman, "A Method for the Construction of
Minimum-Redundancy Codes", 1952).  Deep Compression (S. Han, H. Mao, W. J. Dally, 2016,
arXiv:1510.00149, section 4): only nonzero integers are stored, with the gap to the one before;
a gap that does not fit into its bits is bridged by stored zeros; values and gaps have a Huffman
code each.  Every layer pays for its code lengths, 5 bits a symbol, and for the range of its
symbols.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np

VERSION = "benchmarks/rivals/huffman.py 1"  # to be raised with every change of sizes
RANGE_BITS = 32  # smallest symbol and number of symbols, 16 bits each
LENGTH_BITS = 5
COUNT_BITS = 32
GAP_BITS = (4, 5, 8)


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Length in bits of each symbol's code (0 where it never occurs), by Huffman's algorithm."""
    present = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.int64)
    heap = [(int(counts[symbol]), i, [int(symbol)]) for i, symbol in enumerate(present)]
    heapq.heapify(heap)
    order = len(heap)
    while len(heap) > 1:
        (one, _, left), (two, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[left + right] += 1
        heapq.heappush(heap, (one + two, order, left + right))
        order += 1
    return lengths


def canonical(lengths: np.ndarray) -> dict[tuple[int, int], int]:
    """Symbol by (length, code), codes given out in order of length, then of symbol."""
    codes, code, last = {}, 0, 0
    used = np.flatnonzero(lengths)
    for symbol in used[np.argsort(lengths[used], kind="stable")]:
        length = int(lengths[symbol])
        code <<= length - last
        codes[length, code] = int(symbol)
        code, last = code + 1, length
    return codes


def _encoded(symbols: np.ndarray, lengths: np.ndarray) -> str:
    words = {symbol: f"{code:0{size}b}" for (size, code), symbol in canonical(lengths).items()}
    return "".join(words[symbol] for symbol in symbols.tolist()) if words else ""


def _decoded(bits: str, lengths: np.ndarray, count: int) -> np.ndarray:
    if not lengths.any():
        return np.zeros(count, np.int64)
    symbols = {f"{code:0{size}b}": s for (size, code), s in canonical(lengths).items()}
    found, word = [], ""
    for bit in bits:
        word += bit
        if word in symbols:
            found.append(symbols[word])
            word = ""
    return np.array(found, np.int64)


def bits(values: np.ndarray) -> int:
    """Bits of one canonical Huffman stream with its table; the round trip is checked."""
    if not values.size:
        return RANGE_BITS
    symbols = values.ravel().astype(np.int64) - int(values.min())
    counts = np.bincount(symbols)
    lengths = code_lengths(counts)
    if lengths.max() >= 1 << LENGTH_BITS:
        raise ValueError("a code of more than 31 bits")
    stream = _encoded(symbols, lengths)
    if not np.array_equal(_decoded(stream, lengths, len(symbols)), symbols):
        raise ValueError("Huffman coding gave back other symbols")
    return RANGE_BITS + LENGTH_BITS * len(counts) + len(stream)


def plain_size(tensors: Mapping[str, np.ndarray]) -> int:
    """Bytes of a network, a canonical code for each layer."""
    return sum((bits(values) + 7) // 8 for values in tensors.values())


def relative(values: np.ndarray, gap_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The stored integers and the zeros in front of each, at most ``2**gap_bits - 1``."""
    flat = values.ravel()
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    step = 1 << gap_bits
    bridges = gaps // step
    ends = np.cumsum(bridges + 1) - 1
    stored = np.zeros(int((bridges + 1).sum()), flat.dtype)
    distances = np.full(len(stored), step - 1)
    stored[ends], distances[ends] = flat[places], gaps % step
    return stored, distances


def restored(stored: np.ndarray, distances: np.ndarray, size: int) -> np.ndarray:
    """The inverse of ``relative``."""
    flat = np.zeros(size, stored.dtype)
    flat[np.cumsum(distances + 1) - 1] = stored
    return flat


def deep_compression_size(tensors: Mapping[str, np.ndarray]) -> int:
    """Bytes of a network in the way of Deep Compression, with the best width of gaps."""
    return min(sum(_sparse_bytes(t, width) for t in tensors.values()) for width in GAP_BITS)


def _sparse_bytes(values: np.ndarray, gap_bits: int) -> int:
    stored, distances = relative(values, gap_bits)
    if not np.array_equal(restored(stored, distances, values.size), values.ravel()):
        raise ValueError("relative indices gave back other integers")
    return (COUNT_BITS + bits(stored) + bits(distances) + 7) // 8
