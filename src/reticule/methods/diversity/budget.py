"""How many units of each class, for a number of multiplications in all.

Each class is reduced alone to some shares of its units, and what that costs the answers is
measured: the Kullback-Leibler divergence from the original's, on images without labels.  Then

* "equal": one loss for all classes says how many units each keeps (Kuzmin et al., "Taxonomy and
  evaluation of structured compression of convolutional neural networks", 2019);
* "least": one price of a multiplication for all classes, so that the sum of losses is least.

Loss or price are found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

SHARES = (0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)
ALL = np.array([1.0, *SHARES])
ROUNDS, FINE = 40, 113

Rule = Literal["equal", "least"]
Macs = Callable[[Mapping[int, int]], float]


def counts_for(
    losses: Sequence[Sequence[float]],
    sizes: Sequence[int],
    macs: Macs,
    most: float,
    rule: Rule = "least",
) -> dict[int, int]:
    """Units that each class keeps, by its number, so that ``macs`` of them are at most ``most``.

    ``losses`` are those of each class at SHARES of its units.  They are made to rise, from 0
    where all units stay, and interpolated.
    """
    curves = [np.maximum.accumulate(np.maximum([0.0, *each], 0)) for each in losses]
    full = macs({})
    alone = [full - macs({n: max(1, round(size / 8))}) for n, size in enumerate(sizes)]

    def counts(price: float) -> dict[int, int]:
        if rule == "equal":
            shares = [_within(curve, price) for curve in curves]
        else:
            shares = [_cheapest(c, price * m) for c, m in zip(curves, alone, strict=True)]
        pairs = enumerate(zip(shares, sizes, strict=True))
        return {number: max(1, round(share * size)) for number, (share, size) in pairs}

    low, high = 0.0, max((float(curve[-1]) for curve in curves), default=0.0) * 1.01 + 1e-9
    if rule == "least":
        high *= 100 / max(min((m for m in alone if m > 0), default=1.0), 1e-9)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if macs(counts(middle)) > most else (low, middle)
    return counts(high)


def _within(curve: np.ndarray, loss: float) -> float:
    """The smallest share whose loss is at most this."""
    within = int(np.searchsorted(curve, loss, side="right")) - 1
    if within + 1 == curve.size:
        return float(ALL[within])
    part = (loss - curve[within]) / (curve[within + 1] - curve[within])
    return float(ALL[within] - part * (ALL[within] - ALL[within + 1]))


def _cheapest(curve: np.ndarray, price: float) -> float:
    """The share at which loss, and the price of the multiplications that are left, are least."""
    fine = np.linspace(ALL[-1], 1.0, FINE)
    loss = np.interp(fine, ALL[::-1], curve[::-1])
    return float(fine[np.argmin(loss + price * fine)])
