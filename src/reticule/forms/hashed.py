"""Hashed: weights that a hash function lets share a few values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from reticule.forms.base import Form, Shape
from reticule.forms.spectral import LARGEST_KERNEL

_BLOCK = 1 << 18  # weights that are restored at a time
_LARGEST = 1 << 32  # positions are hashed as 32 bits
_WORD = 0xFFFF_FFFF


@dataclass(frozen=True, eq=False)
class Hashed(Form):
    """Each weight is plus or minus one of a few values; hashes of its position choose.

    With one budget K the weight at the flat C-order position p is

        w[p] = sign(p) * values[floor(h(p, seed) * K / 2^32)]
        sign(p) = -1 where h(p, not seed) >= 2^31, else 1

    with :func:`murmur` as h (Chen et al., "Compressing Neural Networks with the Hashing
    Trick", ICML 2015, section 4).  So only K numbers and a seed are kept.  With several
    budgets the last two axes are those of kernels: taps (or, inside a
    :class:`~reticule.forms.Spectral` form, frequencies) of one band j = y + x share a
    part of their own, of ``budgets[j]`` values (Chen et al., "Compressing Convolutional
    Neural Networks in the Frequency Domain", KDD 2016, section 4).  Such kernels have at
    most 32 taps along an axis.

    ``values`` is a form of shape (sum of budgets,), band by band.  A band of no weights
    has no values; any other has at least one and no more than weights.  Anything else
    is a ValueError.

    >>> from reticule.forms import Dense
    >>> form = Hashed((3, 4), 7, (2,), Dense(np.array([1.0, 5.0], "f4")))
    >>> form.dense()
    array([[ 5., -5.,  5., -5.],
           [-5.,  5.,  1., -1.],
           [ 5.,  5., -1.,  5.]], dtype=float32)
    """

    shape: Shape
    seed: int
    budgets: tuple[int, ...]
    values: Form

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(axis) for axis in self.shape))
        object.__setattr__(self, "budgets", tuple(int(budget) for budget in self.budgets))
        if not 0 <= self.seed <= _WORD:
            raise ValueError(f"a seed of {self.seed} does not fit 32 bits")
        if fault := misfit(self.shape, self.budgets):
            raise ValueError(fault)
        if self.values.shape != (sum(self.budgets),):
            raise ValueError(f"{self.values.shape} values for budgets of {sum(self.budgets)}")

    @property
    def name(self) -> str:
        inner = self.values.name
        return "hashed" if inner == "dense" else f"hashed({inner})"

    def dense(self) -> np.ndarray:
        return self.restored(self.values.dense()).reshape(self.shape)

    def restored(self, values: np.ndarray, first: int = 0, last: int | None = None) -> np.ndarray:
        """The weights at the flat positions ``first`` to ``last``, of these values (float32)."""
        last = self.size if last is None else last
        out = np.empty(last - first, np.float32)
        for start, buckets, negative in self.places(first, last):
            part = out[start - first : start - first + buckets.size]
            np.take(values, buckets, out=part)
            np.negative(part, out=part, where=negative)
        return out

    def places(
        self, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Where weights take their values, block by block, in order.

        Each block is its first flat position, the index into ``values`` of every weight
        (int64), and whether it is negated (bool).
        """
        last = self.size if last is None else last
        for start in range(first, last, _BLOCK):
            end = min(start + _BLOCK, last)
            hashes = murmur(self.seed, start, end).astype(np.uint64)
            if len(self.budgets) == 1:
                buckets = (hashes * np.uint64(self.budgets[0])) >> np.uint64(32)
            else:
                taps = prod(self.shape[-2:])
                band = np.resize(np.roll(bands(*self.shape[-2:]), -(start % taps)), end - start)
                sizes = np.array(self.budgets, np.uint64)
                starts = np.cumsum(sizes) - sizes
                buckets = ((hashes * sizes[band]) >> np.uint64(32)) + starts[band]
            negative = murmur(self.seed ^ _WORD, start, end) >= np.uint32(1 << 31)
            yield start, buckets.astype(np.int64), negative

    @property
    def nonzero(self) -> int:
        values = self.values.dense()
        if values.all():
            return self.size
        return sum(int(np.count_nonzero(values[buckets])) for _, buckets, _ in self.places())

    @property
    def macs(self) -> int:
        """Those of the restored weights."""
        return self.size

    @property
    def bits(self) -> int:
        """Seed and budgets at 32 bits each, plus the values."""
        return 32 * (1 + len(self.budgets)) + self.values.bits


def murmur(seed: int, first: int, last: int) -> np.ndarray:
    """Hashes (uint32) of the numbers ``first`` to ``last``: MurmurHash3 x86_32.

    The hash, by Austin Appleby (2011, public domain), is that of a number's four bytes,
    lowest first.  The same on every machine: additions, products and shifts of 32 bits.

    >>> [hex(h) for h in murmur(0x5082EDEE, 0x87654321, 0x87654322)]
    ['0x2362f9de']
    """
    k = np.arange(first, last, dtype=np.int64).astype(np.uint32)
    k *= np.uint32(0xCC9E2D51)
    k = _rotated(k, 15)
    k *= np.uint32(0x1B873593)
    k ^= np.uint32(seed)
    k = _rotated(k, 13)
    k *= np.uint32(5)
    k += np.uint32(0xE6546B64)
    k ^= np.uint32(4)  # bytes that were hashed
    k ^= k >> np.uint32(16)
    k *= np.uint32(0x85EBCA6B)
    k ^= k >> np.uint32(13)
    k *= np.uint32(0xC2B2AE35)
    k ^= k >> np.uint32(16)
    return k


def _rotated(words: np.ndarray, places: int) -> np.ndarray:
    return (words << np.uint32(places)) | (words >> np.uint32(32 - places))


@cache
def bands(height: int, width: int) -> np.ndarray:
    """The band y + x of every tap of a kernel, in C order.

    >>> bands(2, 3).tolist()
    [0, 1, 2, 1, 2, 3]
    """
    return (np.arange(height)[:, None] + np.arange(width)).ravel()


def band_sizes(shape: Shape) -> tuple[int, ...]:
    """How many weights each band has; the last two axes are those of kernels.

    >>> band_sizes((10, 1, 2, 3))
    (10, 20, 20, 10)
    """
    height, width = shape[-2:]
    kernels = prod(shape[:-2])
    return tuple(
        kernels * (min(j, height - 1) - max(0, j - width + 1) + 1)
        for j in range(height + width - 1)
    )


def misfit(shape: Shape, budgets: Sequence[int]) -> str:
    """Why these budgets cannot be those of a shape, or the empty string.

    >>> misfit((4, 4), (17,))
    '17 values for 16 weights'
    """
    if prod(shape) > _LARGEST:
        return f"{prod(shape)} positions cannot be hashed"
    sizes: Sequence[int] = (prod(shape),)
    if len(budgets) != 1:
        kernels = len(shape) >= 4 and all(1 <= axis <= LARGEST_KERNEL for axis in shape[-2:])
        if not kernels or len(budgets) != shape[-2] + shape[-1] - 1:
            return f"{len(budgets)} budgets for the shape {shape}"
        sizes = band_sizes(shape)
    for budget, size in zip(budgets, sizes, strict=True):
        if not min(size, 1) <= budget <= size:
            return f"{budget} values for {size} weights"
    return ""
