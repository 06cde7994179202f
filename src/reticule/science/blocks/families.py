"""Families: what a block says about the entries in it, and what that costs in bits.

A family reduces the stored entries of a matrix to *statistics*, sums of which over a block are
all that its code length needs.  ``block_bits`` is that length, every parameter paid for: the
positions by counting (how many edges, then which of all subsets of that size), the weights by
their marginal likelihood under a conjugate prior.  Both are lengths of codes that exist, so that
numbers of blocks can be compared without a penalty chosen by hand.

============= ===================================== ==============================================
family        statistics of an entry                source
============= ===================================== ==============================================
bernoulli     1                                     Holland, Laskey, Leinhardt 1983; Peixoto 2012
degree-corr.  1                                     Karrer & Newman 2011; Larremore, Clauset &
                                                    Jacobs 2014; Peixoto 2017 (degrees paid for)
normal        1, x, x^2                             Aicher, Jacobs & Clauset 2015
variance      1, x^2                                the same, with means of zero
laplace       1, abs(x)                             the same, double exponential
============= ===================================== ==============================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from reticule.science.blocks.counting import LN2, log2_binomial, log2_gamma

RESOLUTION = 2.0**-12  # of the root mean square of all weights
LOG2_PI = float(np.log2(np.pi))


@dataclass(frozen=True)
class Scale:
    """What is known about a layer before its blocks: mean and mean square of its weights."""

    mean: float
    square: float

    @property
    def variance(self) -> float:
        return max(self.square - self.mean**2, 1e-12 * self.square, 1e-300)


class Family(ABC):
    """How the entries of one block are distributed.

    Statistics are arrays (T, ...) with one leading index for each kind; ``pairs`` is the number
    of cells of the block, stored or not.
    """

    name: str
    weighted = True

    @abstractmethod
    def statistics(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        """The statistics of stored entries, beyond their number."""

    @abstractmethod
    def weight_bits(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        """Bits for the weights of blocks, given the sums (T, ...) over each block."""

    @abstractmethod
    def weight_scores(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        """What a unit of each statistic adds to the bits of an entry, in each block (T, ...)."""

    def block_bits(
        self, sums: np.ndarray, pairs: np.ndarray, scale: Scale, positions: bool = True
    ) -> np.ndarray:
        """Bits for all that is in blocks: which cells are stored, and their weights."""
        bits = self.weight_bits(sums, scale)
        return bits + position_bits(sums[0], pairs) if positions else bits

    def scores(
        self, sums: np.ndarray, pairs: np.ndarray, scale: Scale, positions: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bits for each unit of a statistic (T, ...) and for each cell (...), at the estimate."""
        each = self.weight_scores(sums, scale)
        if not positions:
            return each, np.zeros(pairs.shape)
        chance = (sums[0] + 0.5) / (pairs + 1.0)
        each[0] += np.log2(1.0 - chance) - np.log2(chance)
        return each, -np.log2(1.0 - chance)


def position_bits(edges: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """How many of the cells are stored, and which.

    >>> round(float(position_bits(np.array(1.0), np.array(4.0))), 6)  # log2 5 + log2 4
    4.321928
    """
    return log2_binomial(pairs, edges) + np.log2(pairs + 1.0)


class Bernoulli(Family):
    """Stored or not; weights are ignored."""

    name, weighted = "bernoulli", False

    def statistics(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        return ()

    def weight_bits(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        return np.zeros(sums.shape[1:])

    def weight_scores(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        return np.zeros(sums.shape)


class Degrees(Bernoulli):
    """Stored or not, where rows and columns keep their degrees.

    The cells of a block are counted as in the plain model; what degrees take away from that, and
    what they cost, :mod:`reticule.science.blocks.degrees` adds.
    """

    name = "degree-corrected"

    def block_bits(
        self, sums: np.ndarray, pairs: np.ndarray, scale: Scale, positions: bool = True
    ) -> np.ndarray:
        return log2_binomial(pairs, sums[0])

    def scores(
        self, sums: np.ndarray, pairs: np.ndarray, scale: Scale, positions: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        edges, cells = sums[0] + 1e-3, pairs + 2e-3  # an empty pair of blocks is not impossible
        columns, rows = (
            edges.sum(axis=axis, keepdims=True) / cells.sum(axis=axis, keepdims=True)
            for axis in (0, 1)
        )
        inside, columns, rows = (np.minimum(x, 1 - 1e-9) for x in (edges / cells, columns, rows))
        missing = [np.log2(1 - each) for each in (inside, columns, rows)]
        odds = [np.log2(c) - m for c, m in zip((inside, columns, rows), missing, strict=True)]
        return (odds[1] + odds[2] - odds[0])[None], missing[1] + missing[2] - missing[0]


class Variance(Family):
    """Normal weights of mean zero; each block has its variance (inverse gamma prior)."""

    name = "normal-variance"

    def statistics(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        return (values * values,)

    def weight_bits(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        count, square = sums
        prior, half = scale.square / 2, (count + 1) / 2
        bits = count / 2 * LOG2_PI + log2_gamma(0.5) - log2_gamma(half)
        bits += half * np.log2(2 * prior + square) - 0.5 * np.log2(2 * prior)
        return bits - count * np.log2(RESOLUTION * np.sqrt(scale.square))

    def weight_scores(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        count, square = sums
        variance = (square + scale.square) / (count + 1)
        return np.stack([0.5 * np.log2(2 * np.pi * variance), 0.5 / LN2 / variance])


class Normal(Family):
    """Normal weights; each block has its mean and variance (normal inverse gamma prior)."""

    name = "normal"

    def statistics(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        return (values, values * values)

    def weight_bits(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        count, spread = self._spread(sums, scale)
        half = (count + 1) / 2
        bits = count / 2 * LOG2_PI + log2_gamma(0.5) - log2_gamma(half)
        bits += half * np.log2(spread) - 0.5 * np.log2(scale.variance) + 0.5 * np.log2(count + 1)
        return bits - count * np.log2(RESOLUTION * np.sqrt(scale.square))

    def weight_scores(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        count, spread = self._spread(sums, scale)
        variance = spread / (count + 1)
        mean = (sums[1] + scale.mean) / (count + 1)
        each = 0.5 * np.log2(2 * np.pi * variance) + 0.5 / LN2 * mean**2 / variance
        return np.stack([each, -mean / variance / LN2, 0.5 / LN2 / variance])

    @staticmethod
    def _spread(sums: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
        """Number of entries, and twice the posterior scale of the variance."""
        count, total, square = sums
        mean = total / np.maximum(count, 1)
        inside = np.maximum(square - count * mean**2, 0)
        between = count / (count + 1) * (mean - scale.mean) ** 2
        return count, scale.variance + inside + between


class Laplace(Family):
    """Double exponential weights around zero; each block has its scale (inverse gamma prior)."""

    name = "laplace"

    def statistics(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.abs(values),)

    def weight_bits(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        count, size = sums
        prior = np.sqrt(scale.square / 2)
        bits = count - log2_gamma(count + 1) + (count + 1) * np.log2(prior + size)
        return bits - np.log2(prior) - count * np.log2(RESOLUTION * np.sqrt(scale.square))

    def weight_scores(self, sums: np.ndarray, scale: Scale) -> np.ndarray:
        count, size = sums
        width = (size + np.sqrt(scale.square / 2)) / (count + 1)
        return np.stack([np.log2(2 * width), 1 / LN2 / width])


FAMILIES: dict[str, Family] = {
    family.name: family for family in (Bernoulli(), Degrees(), Normal(), Variance(), Laplace())
}
