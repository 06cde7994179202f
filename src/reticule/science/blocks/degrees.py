"""What degrees cost: the side of a layer whose rows or columns keep their number of edges.

How many masks have given degrees?  Were rows and columns independent, the answer would be what
Good & Crook (1977) counted and Canfield, Greenhill & McKay ("Asymptotic enumeration of dense 0-1
matrices with specified line sums", Journal of Combinatorial Theory A 115, 2008) proved for
degrees that do not differ much, and with their correction it is good for those that do.  With
N = n m cells and e edges:

    C(N, e) * prod_i C(m, k_i) / C(N, e) * prod_j C(n, d_j) / C(N, e)

Here it is applied to blocks: the first factor for each pair of blocks, the two others for each
block of rows or columns.  In sparse masks it becomes the half-edges of Karrer & Newman (2011).
The degrees themselves are told block by block, in the shortest of these ways, given their sum:
as a partition of that integer and the order of its parts (Peixoto, Physical Review E 95, 2017,
section III), or as draws from an urn that gives back ``a`` more of the colour drawn (Polya):

    C(e + n a - 1, e) / prod_i C(k_i + a - 1, k_i)

Large ``a`` is chance, small ``a`` is a few hubs, and ``a = -m`` is a mask without any structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reticule.science.blocks.counting import (
    LN2,
    log2_binomial,
    log2_factorial,
    log2_integer_partitions,
)

_URNS = 2.0 ** np.arange(-2, 10)
_CHOICE = float(np.log2(_URNS.size + 2))  # which way degrees are told


@dataclass(frozen=True)
class Degrees:
    """Degrees of one side: their distinct values (D,), and which one each row has (n,).

    ``width`` is the number of cells of a row.
    """

    values: np.ndarray
    index: np.ndarray
    width: int

    @classmethod
    def of(cls, degrees: np.ndarray, width: int) -> Degrees:
        values, index = np.unique(np.asarray(degrees, np.int64), return_inverse=True)
        return cls(values.astype(np.float64), index, width)

    def histogram(self, labels: np.ndarray, blocks: int) -> np.ndarray:
        """How many rows of each block have each degree (blocks, D)."""
        size = max(self.values.size, 1)
        counts = np.bincount(labels * size + self.index, minlength=blocks * size)
        return counts.reshape(blocks, size).astype(np.float64)

    @cached_property
    def _urns(self) -> tuple[np.ndarray, np.ndarray]:
        """The parameters of the urns (A,), and log2 C(k + a - 1, k) for every degree (D, A)."""
        urns = np.append(_URNS, -float(self.width))
        ways = [_log2_ways(self.values, a) for a in urns]
        return urns, np.stack(ways, axis=1)

    @cached_property
    def _cells(self) -> np.ndarray:
        """In how many ways a row of each degree can lie in its cells, in bits (D,)."""
        return log2_binomial(self.width, self.values)

    def bits(self, histogram: np.ndarray) -> np.ndarray:
        """Bits of blocks given their histograms (..., D): that degrees hold, and which they are."""
        rows, edges = histogram.sum(axis=-1), histogram @ self.values
        urns, ways = self._urns
        drawn = _log2_ways(edges[..., None], rows[..., None] * urns) - histogram @ ways
        parted = log2_integer_partitions(edges, rows) + log2_factorial(rows)
        parted = parted - log2_factorial(histogram).sum(axis=-1)
        told = np.minimum(drawn.min(axis=-1), parted) + _CHOICE
        return told + histogram @ self._cells - log2_binomial(rows * self.width, edges)

    def merged_bits(self, histogram: np.ndarray) -> np.ndarray:
        """Change of bits (K, K) when two blocks become one."""
        alone = self.bits(histogram)
        rows = [self.bits(histogram + one) for one in histogram]
        return np.array(rows).reshape(alone.size, alone.size) - alone[:, None] - alone

    def move_bits(self, labels: np.ndarray, histogram: np.ndarray) -> np.ndarray:
        """Change of bits (n, K) when one row leaves its block for another, taken alone."""
        rows, edges = histogram.sum(axis=1)[:, None], (histogram @ self.values)[:, None]
        now = self.bits(histogram)[:, None]
        more = self._changed(histogram, rows + 1, edges + self.values, 1.0)
        here = histogram > 0  # the others have no row to lose
        less = np.where(here, edges - self.values, 0.0)
        fewer = self._changed(histogram, np.maximum(rows - 1, 0), less, -1.0)
        leave = np.where(here, fewer, now) - now
        return (more - now).T[self.index] + leave[labels, self.index][:, None]

    def _changed(
        self, histogram: np.ndarray, rows: np.ndarray, edges: np.ndarray, sign: float
    ) -> np.ndarray:
        """Bits (K, D) of each block with one row more, or less, of each degree."""
        urns, ways = self._urns
        taken = (histogram @ ways)[:, None] + sign * ways
        drawn = _log2_ways(edges[..., None], rows[..., None] * urns) - taken
        parted = log2_integer_partitions(edges, rows) + log2_factorial(rows)
        order = log2_factorial(np.maximum(histogram + sign, 0)) - log2_factorial(histogram)
        parted = parted - log2_factorial(histogram).sum(axis=1)[:, None] - order
        told = np.minimum(drawn.min(axis=-1), parted) + _CHOICE
        cells = (histogram @ self._cells)[:, None] + sign * self._cells
        return told + cells - log2_binomial(rows * self.width, edges)

    def variation(self, histogram: np.ndarray) -> np.ndarray:
        """Sum over the rows of each block of (k / mean k - 1)^2."""
        rows = histogram.sum(axis=1)
        edges, squares = histogram @ self.values, histogram @ self.values**2
        return np.maximum(rows * rows * squares / np.maximum(edges, 1) ** 2 - rows, 0) * (edges > 0)


def correction(
    edges: np.ndarray, pairs: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> float:
    """Bits for degrees that differ on both sides, given the variations of the blocks' degrees.

    High degrees of rows and columns meet in the same cells, and a cell holds one edge only.  The
    product of the two variances in the exponent of Canfield, Greenhill and McKay, block by block.
    """
    density = edges / np.maximum(pairs, 1)
    odds = density / np.maximum(1 - density, 0.1)
    return float(-0.5 / LN2 * (odds**2 * rows[:, None] * columns).sum())


def _log2_ways(total: np.ndarray, urn: np.ndarray | float) -> np.ndarray:
    """log2 C(e + a - 1, e), or log2 C(-a, e) where a is negative: the urn is emptied."""
    urn = np.asarray(urn)
    kept = log2_binomial(total + np.maximum(urn, 1e-9) - 1 + 0.0, total)
    return np.where(urn < 0, log2_binomial(np.maximum(-urn, total), total), kept)
