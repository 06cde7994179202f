"""The weights that are left of a pruned layer, quantised with error feedback.

A trellis cannot run under a mask, so each weight gets the nearest of all levels, or one
nearby that costs fewer bits; the others of its row make up for its error, as far as they
are left themselves.  For that the rows are packed: each keeps only the columns of its mask,
and has the factor of its own H_SS (:mod:`reticule.codec.second_order`).
"""

from __future__ import annotations

import numpy as np

from reticule.codec.rates import Rates
from reticule.codec.second_order import Factor, factor
from reticule.forms import Form, Quantised, Sparse
from reticule.methods.obs.reconstruct import restricted
from reticule.methods.quantise.layers import START, Target, best_step, coder_rates

MOST_ENTRIES = 1 << 25  # of the factors of all rows; with more, fewer columns are coupled
AT_ONCE = 1 << 22  # of the matrices that are factorised together


def quantise_survivors(
    weights: np.ndarray,
    mask: np.ndarray,
    hessian: np.ndarray,
    importance: np.ndarray,
    lam: float,
    known: float | None = None,
) -> tuple[Form, float]:
    """Weights in their tensor's shape as a sparse form, with little loss + ``lam`` * bits.

    ``mask`` (rows, columns); H as in :mod:`reticule.methods.obs.pruning`, positive definite.
    ``known`` is a step over the expected one that suited this tensor before.  Also returns that.
    A weight whose level becomes zero is no longer stored.
    """
    flat = weights.reshape(mask.shape)
    if not np.any(flat[mask]):
        return Sparse.at(np.zeros(weights.shape, bool), Quantised(np.zeros(0, np.int8), 1.0)), 1.0
    target = Survivors(weights, mask, hessian, importance)
    ratio = known if known is not None else best_step(target, lam, 0, START)[1]
    step = target.clipped(ratio * target.expected_step(lam, 0))
    levels = target.spread_out(target.levels(step, lam, 0, exact=True)[0])
    kept = levels != 0
    return Sparse.at(kept, Quantised(levels[kept], step)), ratio


class Survivors(Target):
    """The packed rows of one tensor: (rows, most that a row keeps), zeros behind."""

    def __init__(
        self, weights: np.ndarray, mask: np.ndarray, hessian: np.ndarray, importance: np.ndarray
    ) -> None:
        self.spectral = False
        self.shape, self.mask = weights.shape, mask
        width = max(int(mask.sum(axis=1).max(initial=0)), 1)
        self._at = np.argsort(~mask, axis=1, kind="stable")[:, :width]
        self._real = np.take_along_axis(mask, self._at, 1)
        rows = weights.reshape(mask.shape)
        self.weights = np.take_along_axis(rows, self._at, 1) * self._real
        self.factor = _factors(hessian, mask, width)
        self.importance = 0.5 * importance
        self.largest = float(np.abs(self.weights).max(initial=0.0))

    def expected_step(self, lam: float, states: int) -> float:
        """As for a dense tensor, from the weights that are left."""
        matters = self.importance[:, None] * self._pivots()
        mean = float(matters[self._real].mean())
        return float(np.sqrt(lam / max(2 * np.log(2) * 0.6 / 12 * mean, 1e-300)))

    def _pivots(self) -> np.ndarray:
        return np.broadcast_to(self.factor.pivots, self._real.shape)

    def spread_out(self, levels: np.ndarray) -> np.ndarray:
        """Levels of the packed rows, in the tensor's shape."""
        full = np.zeros(self.mask.shape, np.int32)
        np.put_along_axis(full, self._at, levels * self._real, axis=1)
        return full.reshape(self.shape)

    def rates(self, levels: np.ndarray, states: int) -> Rates:
        """Of the real coder, which knows where in the tensor each weight sits."""
        mask = np.ascontiguousarray(self.mask, np.uint8).reshape(-1)
        rates = coder_rates(self.spread_out(levels), states, mask)
        rows = np.arange(len(self._at))[:, None] * self.mask.shape[1]
        real = self._real.reshape(-1, 1, 1)
        return Rates(np.where(real, rates[(rows + self._at).reshape(-1)], 1).astype(np.uint16))

    def sample(self) -> Survivors:
        return self


def _factors(hessian: np.ndarray, mask: np.ndarray, width: int) -> Factor:
    """The factor of each row's H_SS; for a diagonal H, its entries."""
    if hessian.ndim == 1:
        at = np.argsort(~mask, axis=1, kind="stable")[:, :width]
        return Factor(hessian[at], None)
    rows, each = len(mask), len(mask) // len(hessian)
    block = int(np.clip(MOST_ENTRIES // (rows * width), 1, width))
    together = max(1, AT_ONCE // width**2)
    pivots = np.empty((rows, width))
    spread = np.empty((rows, width, block), np.float32)
    for g, matrix in enumerate(hessian):
        for first in range(g * each, (g + 1) * each, together):
            part = slice(first, min(first + together, (g + 1) * each))
            found = factor(restricted(matrix, mask[part], width)[2], 0.0, block)
            pivots[part] = found.pivots
            assert found.spread is not None
            spread[part] = found.spread
    return Factor(pivots, spread)
