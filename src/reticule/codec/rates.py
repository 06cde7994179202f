"""What an index costs, before there is a coder to ask: tables for rate-distortion decisions.

A weight's cost depends on how large its neighbours are.  Coders find that out as they go; here
the same is had from the weights themselves: each belongs to a *class* by the scale
that its row, column and kernel position predict, and each class has one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reticule import _native
from reticule.forms.quantised import trellis_rows

REACH = 6  # tables hold the indices -6 to 6
WIDTH = 2 * REACH + 1
CLASSES = 48  # half octaves of scale, measured in steps
_LOWEST = -32  # the class of scales up to 2 ** (_LOWEST / 2) steps
_ONE_BIT = 256
_AT_ONCE = 1 << 20  # weights that are counted at a time
_SEEN = 2.0  # counts that a table begins with
_RARE = 12.0  # bits of an index that is possible but discouraged
# Where weights are larger than this many steps, quantiser 1 is better off without its zero:
# its levels are then 2 apart everywhere, and its branches 4.
_LARGE = 0.5


class RateSource(Protocol):
    """Whatever knows rates.  It is asked for one row group after the other, in order."""

    def part(self, first: int, last: int) -> Rates: ...


@dataclass(frozen=True)
class Rates:
    """Tables (entries, 2, 13) uint16 in 1/256 bit: of the indices -6 to 6 in quantiser 0 and 1.

    ``classes`` (weights,) uint16 tells the entry of each weight; None: one entry for each.
    """

    tables: np.ndarray
    classes: np.ndarray | None = None

    def part(self, first: int, last: int) -> Rates:
        """The rates of weights ``first`` to ``last``."""
        if self.classes is None:
            return Rates(self.tables[first:last])
        return Rates(self.tables, self.classes[first:last])


def scale_classes(weights: np.ndarray, step: float) -> np.ndarray:
    """Class (uint16, flat) of each weight: its predicted magnitude in steps, in half octaves.

    The prediction is mean(row) * mean(column) * mean(position) / mean(all)^2 of the
    magnitudes, with the axes after the second one as the position.
    """
    size = np.abs(weights, dtype=np.float32)
    size = size.reshape(size.shape[0] if size.ndim > 1 else 1, -1, *_kernel(size.shape))
    octaves = np.full((1, 1, 1), -4 * _octaves(size.mean(dtype=np.float64)), np.float32)
    for axes in ((1, 2), (0, 2), (0, 1)):
        octaves = octaves + 2 * _octaves(size.mean(axis=axes, keepdims=True, dtype=np.float64))
    classes = np.rint(octaves - (2 * _octaves(step) + _LOWEST), out=octaves)
    return np.clip(classes, 0, CLASSES - 1, out=octaves).astype(np.uint16).ravel()


def _octaves(value: np.ndarray | float) -> np.ndarray:
    return np.log2(np.maximum(value, 2.0**-120)).astype(np.float32)


def _kernel(shape: tuple[int, ...]) -> tuple[int]:
    return (int(np.prod(shape[2:])) if len(shape) > 2 else 1,)


def estimate(weights: np.ndarray, step: float, states: int) -> Rates:
    """Rates of Laplacian weights of the scales that :func:`scale_classes` predicts."""
    scales = 2.0 ** ((np.arange(CLASSES) + _LOWEST) / 2)
    tables = np.stack([_laplacian(scales, states, quantiser) for quantiser in (0, 1)], axis=1)
    return Rates(_fixed(tables), scale_classes(weights, step))


def _laplacian(scales: np.ndarray, states: int, quantiser: int) -> np.ndarray:
    """Bits (scales, 13) of each index, for weights with these mean magnitudes in steps."""
    k = np.arange(REACH + 2)
    if states == 0:
        edges = np.maximum(k - 0.5, 0)
    else:
        edges = np.maximum(2 * k - 1 - quantiser, 0.5 * (k > 0)).astype(np.float64)
    beyond = np.exp(-edges / np.maximum(scales[:, None], 0.05))  # P(size > edge)
    share = beyond[:, :-1] - beyond[:, 1:]
    share[:, 1:] /= 2
    bits = -np.log2(np.maximum(share, 2.0**-20))
    if quantiser and states:
        without = scales > _LARGE
        bits[without, 0] = _RARE
        first = np.exp(-2 / scales[without])
        bits[without, 1] = -np.log2((1 - first) / 2)
    return np.concatenate([bits[:, :0:-1], bits], axis=1)


def observe(levels: np.ndarray, states: int, before: Rates) -> Rates:
    """Rates that these levels would have had: a table from the counts of each class.

    ``before`` gives the classes and, as if seen a few times, the counts to begin with.
    """
    if before.classes is None:
        raise ValueError("rates without classes cannot be counted")
    indices, quantisers = indices_and_quantisers(levels, states)
    entries = len(before.tables)
    flat_counts = np.zeros(entries * 2 * WIDTH)
    for first in range(0, indices.size, _AT_ONCE):
        at = slice(first, first + _AT_ONCE)
        symbol = np.clip(indices[at], -REACH, REACH) + REACH
        flat = (before.classes[at].astype(np.int64) * 2 + quantisers[at]) * WIDTH + symbol
        flat_counts += np.bincount(flat, minlength=flat_counts.size)
    counts = flat_counts.reshape(entries, 2, WIDTH)
    guess = 2.0 ** (-before.tables.astype(np.float64) / _ONE_BIT)
    total = counts.sum(axis=2, keepdims=True) + _SEEN
    share = (counts + _SEEN * guess / guess.sum(axis=2, keepdims=True)) / total
    bits = -np.log2(share)
    for end, inner in ((0, 4), (WIDTH - 1, WIDTH - 5)):
        bits[..., end] = _end(share[..., end], bits[..., inner])
    return Rates(_fixed(bits), before.classes)


def _end(share: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Bits of the last index of a table, if it and all beyond it have ``share`` together.

    Beyond it rates rise by a quarter of what they rose from ``inner``, four indices before.
    """
    low, high = np.full(inner.shape, 1e-3), np.full(inner.shape, 60.0)
    for _ in range(30):
        rise = (low + high) / 2
        too_much = 2.0 ** -(inner + rise) / (1 - 2.0 ** (-rise / 4)) > share
        low, high = np.where(too_much, rise, low), np.where(too_much, high, rise)
    return inner + high


def indices_and_quantisers(levels: np.ndarray, states: int) -> tuple[np.ndarray, np.ndarray]:
    """What is coded of a tensor's levels (int32, flat), and the quantiser (uint8) of each."""
    flat = np.ascontiguousarray(levels, np.int32).ravel()
    if states == 0:
        return flat, np.zeros(flat.size, np.uint8)
    indices, quantisers = np.empty_like(flat), np.empty(flat.size, np.uint8)
    _native.trellis_indices(flat, columns_of(levels.shape), states, indices)
    _native.trellis_quantisers(indices, columns_of(levels.shape), states, quantisers)
    return indices, quantisers


def columns_of(shape: tuple[int, ...]) -> int:
    """Columns of a tensor as a matrix: its first axis against all others.

    >>> columns_of((16, 3, 3, 3)), columns_of((5,))
    (27, 5)
    """
    return int(np.prod(shape[1:] if len(shape) > 1 else shape))


def row_groups(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last row of each group in which a trellis starts anew.

    >>> row_groups((300, 576))
    [(0, 114), (114, 228), (228, 300)]
    """
    rows, group = (shape[0] if len(shape) > 1 else 1), trellis_rows(columns_of(shape))
    return [(first, min(first + group, rows)) for first in range(0, rows, group)]


def _fixed(bits: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(bits * _ONE_BIT), 1, 65535).astype(np.uint16)
