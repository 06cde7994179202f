"""Optimal brain surgery of one layer: in which order its weights go, and what each costs.

A row w of weights (what goes into one output) whose inputs x have H = E[x x^T] loses
1/2 e^T H e by an error e.  Of all single weights, removing p costs least where

    w_p^2 / (2 [H^-1]_pp)

is smallest, if the others make up for it:  w <- w - w_p / [H^-1]_pp * H^-1[:, p].  For what is
left, the inverse follows by one rank-one step:

    H^-1 <- H^-1 - H^-1[:, p] H^-1[p, :] / [H^-1]_pp

The steps of some removals are put off and made together: until then, what a step needs of
H^-1 is one column, less what these removals take from it.

Source: Hassibi and Stork, "Second order derivatives for network pruning: optimal brain
surgeon", NIPS 1992; row by row in a layer: Frantar and Alistarh, "Optimal Brain Compression",
NeurIPS 2022, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

CACHE = 1 << 21  # entries of the inverses that are worked on together
TOGETHER = 32  # removals, after which the inverse is brought up to date
SMALLER = 0.8  # share of the columns left, at which the inverse shrinks to those
DOUBLE = 256  # columns up to which float64 is worth its time
APART = 1e-10  # by which prices that would be equal differ, relative


@dataclass(frozen=True)
class Trace:
    """For each row (rows, columns): columns in the order of removal, and what each costs."""

    order: np.ndarray
    losses: np.ndarray

    def thresholds(self) -> np.ndarray:
        """(rows, columns), by column: the smallest price at which a weight is removed.

        A weight goes only after those before it, so that is the largest loss up to there; and
        next to nothing more, so that no two of a row have the same.
        """
        prices = np.empty_like(self.losses)
        rising = np.maximum.accumulate(self.losses, axis=1)
        rising *= 1 + APART * np.arange(rising.shape[1])
        np.put_along_axis(prices, self.order, rising, axis=1)
        return prices


def removal(weights: np.ndarray, hessian: np.ndarray, free: np.ndarray | None = None) -> Trace:
    """The trace of rows (rows, columns) that see inputs with H (columns, columns).

    H must be positive definite.  Weights that are not ``free`` must be zero: they are gone
    already, and go first, for nothing.

    >>> trace = removal(np.array([[1.0, 0.1]]), np.array([[1.0, 0.9], [0.9, 1.0]]))
    >>> trace.order.tolist(), trace.losses.round(3).tolist()
    ([[1, 0]], [[0.001, 0.594]])
    """
    columns = weights.shape[1]
    dtype = torch.float64 if columns <= DOUBLE else torch.float32
    shared = _tensor(np.linalg.inv(hessian), dtype) if free is None else None
    least = _tensor(1 / np.diagonal(hessian), dtype)
    order, losses = np.empty(weights.shape, np.int64), np.empty(weights.shape)
    together = max(1, CACHE // max(columns**2, 1))
    for first in range(0, len(weights), together):
        part = slice(first, first + together)
        w = _tensor(weights[part], dtype)
        if shared is None:
            assert free is not None
            own = _tensor(np.linalg.inv(confined(hessian, free[part])), dtype)
        else:
            own = shared.expand(len(w), columns, columns).clone()
        order[part], losses[part] = _Rows(w, own, least).trace()
    return Trace(order, losses)


def _tensor(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype)


def confined(hessian: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """H for each row of ``kept`` (rows, columns): rows of the unit matrix for other columns."""
    matrices = hessian * (kept[:, :, None] & kept[:, None, :])
    diagonal = np.arange(len(hessian))
    matrices[:, diagonal, diagonal] += ~kept
    return matrices


class _Rows:
    """Some rows, each with the inverse of H for the weights that it still has.

    The true inverse is ``inverse`` less the sum of c c^T over the ``waiting`` vectors c.  Its
    diagonal is nowhere below ``least``, one over that of H (columns,), whatever rounding says.
    """

    def __init__(self, weights: torch.Tensor, inverse: torch.Tensor, least: torch.Tensor) -> None:
        rows, columns = weights.shape
        self.least = least.expand(rows, columns)
        self.w = weights.clone()
        self.inverse = inverse
        self.diagonal = inverse.diagonal(dim1=1, dim2=2).clone()
        self.names = torch.arange(columns).expand(rows, columns)
        self.gone = torch.zeros(rows, columns, dtype=torch.bool)
        self.left = columns
        self.waiting = inverse.new_empty(rows, TOGETHER, columns)
        self.count = 0  # of those that wait

    def trace(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns and losses, until nothing is left."""
        order = np.empty(self.w.shape, np.int64)
        losses = np.empty(self.w.shape)
        for step in range(order.shape[1]):
            order[:, step], losses[:, step] = self._step()
            if self.count == TOGETHER:
                self._catch_up()
        return order, losses

    def _step(self) -> tuple[np.ndarray, np.ndarray]:
        """Remove one weight of each row."""
        scores = (self.w.square() / self.diagonal).masked_fill_(self.gone, torch.inf)
        at = scores.argmin(1, keepdim=True)
        rows = torch.arange(len(at))
        column = self.inverse[rows, at[:, 0]]
        if self.count:
            before = self.waiting[:, : self.count]
            share = before[rows, :, at[:, 0]]
            column = torch.baddbmm(column[:, None], share[:, None], before, alpha=-1)[:, 0]
        root = self.diagonal.gather(1, at).sqrt()
        column = column / root
        self.waiting[:, self.count] = column
        weight = self.w.gather(1, at) / root
        self.w.addcmul_(weight, column, value=-1)
        self.diagonal.addcmul_(column, column, value=-1)
        torch.maximum(self.diagonal, self.least, out=self.diagonal)
        self.w.scatter_(1, at, 0.0)
        self.gone.scatter_(1, at, True)
        self.count, self.left = self.count + 1, self.left - 1
        return self.names.gather(1, at)[:, 0].numpy(), (0.5 * weight[:, 0].square()).numpy()

    def _catch_up(self) -> None:
        """Bring the inverse up to date; drop what is gone if that is much."""
        vectors = self.waiting[:, : self.count]
        self.inverse.baddbmm_(vectors.transpose(1, 2), vectors, alpha=-1)
        self.count = 0
        if self.left < SMALLER * self.w.shape[1]:
            rows = len(self.w)
            at = (~self.gone).nonzero()[:, 1].reshape(rows, self.left)
            self.w, self.names = self.w.gather(1, at), self.names.gather(1, at)
            self.least = self.least.gather(1, at)
            pairs = zip(self.inverse, at, strict=True)
            self.inverse = torch.stack([v[i][:, i] for v, i in pairs])
            self.diagonal = self.inverse.diagonal(dim1=1, dim2=2).clone()
            self.gone = torch.zeros(rows, self.left, dtype=torch.bool)
            self.waiting = self.inverse.new_empty(rows, TOGETHER, self.left)
