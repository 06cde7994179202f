"""Which weights of a network go: one price for all layers.

Everything here is row by row: a tensor is a matrix of output channels, and what its rows
see is given by H: (groups, columns, columns) for as many equal groups of rows, or (columns,)
for a diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reticule.codec.second_order import definite, positive
from reticule.methods.obs.reconstruct import reconstruct
from reticule.methods.obs.removal import removal

DAMPING = 0.03  # of the mean of H's diagonal, added to it
WORK = 2e11  # rows * columns * block^2: how many columns count as coupled, within these limits
NARROWEST, WIDEST = 128, 1024


def damped(hessian: np.ndarray, damping: float = DAMPING) -> np.ndarray:
    """H with ``damping`` times its mean diagonal added, and positive definite beyond rounding.

    See :func:`reticule.codec.second_order.definite`.

    >>> damped(np.zeros((1, 2, 2)))[0].diagonal().round(15).tolist()
    [1e-12, 1e-12]
    """
    if hessian.ndim == 1:
        return positive(hessian + damping * max(float(hessian.mean()), 0.0))
    mean = np.einsum("gcc->g", hessian) / max(hessian.shape[-1], 1)
    extra = damping * np.maximum(mean, 0.0)[:, None, None]
    return definite(hessian + extra * np.eye(hessian.shape[-1]))


def prices_of(
    weights: np.ndarray,
    hessian: np.ndarray,
    importance: np.ndarray,
    free: np.ndarray | None = None,
) -> np.ndarray:
    """Price (rows, columns) of each weight: a cut at this price or a higher one removes it.

    The loss 1/2 importance e^T H e that removing it adds, or one before it, if that is more.
    ``hessian`` is positive definite.  Weights that are not ``free`` are zero and cost nothing.
    Of many columns, only those of a block count as coupled.
    """
    if hessian.ndim == 1:
        return 0.5 * weights**2 * hessian * importance[:, None]
    groups, columns, _ = hessian.shape
    each = len(weights) // groups
    prices = np.empty(weights.shape)
    width = int(np.clip((WORK / max(weights.size, 1)) ** 0.5, NARROWEST, WIDEST))
    for g in range(groups):
        rows = slice(g * each, (g + 1) * each)
        for first in range(0, columns, width):
            part = slice(first, first + width)
            trace = removal(
                weights[rows, part],
                hessian[g, part, part],
                None if free is None else free[rows, part],
            )
            prices[rows, part] = trace.thresholds()
    return prices * importance[:, None]


def rebuilt(target: np.ndarray, hessian: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The best weights (rows, columns) under a mask, group by group."""
    if hessian.ndim == 1:
        return target * mask
    groups, columns, _ = hessian.shape
    pairs = zip(target.reshape(groups, -1, columns), mask.reshape(groups, -1, columns), strict=True)
    parts = [reconstruct(t, h, m) for (t, m), h in zip(pairs, hessian, strict=True)]
    return np.concatenate(parts) if parts else target * mask


def price_for(prices: Mapping[str, np.ndarray], density: float) -> float:
    """The price at which about this share of all weights (0 to 1) is kept.

    >>> price_for({"a": np.array([[1.0, 4.0]]), "b": np.array([[2.0, 3.0]])}, 0.5)
    2.0
    """
    every = np.concatenate([p.ravel() for p in prices.values()] or [np.zeros(0)])
    gone = round((1 - density) * every.size)
    if gone <= 0:
        return -1.0
    return float(np.partition(every, gone - 1)[gone - 1])


def masks_at(prices: Mapping[str, np.ndarray], price: float) -> dict[str, np.ndarray]:
    """What stays: all weights that are dearer."""
    return {name: values > price for name, values in prices.items()}
