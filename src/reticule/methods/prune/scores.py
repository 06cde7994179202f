"""How much a weight matters: scores by which pruning ranks, and the masks they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

Score = Literal["magnitude", "lamp"]
Scope = Literal["global", "layer"]


def magnitude(weights: np.ndarray) -> np.ndarray:
    """Absolute value (Han et al., "Learning both Weights and Connections", NIPS 2015)."""
    return np.abs(weights)


def lamp(weights: np.ndarray) -> np.ndarray:
    """Squared weight over the sum of all squares of the layer that are not smaller.

    Source: Lee et al., "Layer-Adaptive Sparsity for the Magnitude-Based Pruning",
    ICLR 2021.  The largest weight of every layer scores 1, so that one global cut
    gives each layer a density of its own.

    >>> lamp(np.array([1.0, -2.0, 0.0])).tolist()
    [0.2, 1.0, 0.0]
    """
    squares = np.square(weights.ravel().astype(np.float64))
    order = np.argsort(-squares, kind="stable")
    not_smaller = np.cumsum(squares[order])
    out = np.zeros_like(squares)
    np.divide(squares[order], not_smaller, out=squares, where=not_smaller > 0)
    out[order] = squares
    return out.reshape(weights.shape)


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"magnitude": magnitude, "lamp": lamp}


def masks_at(
    weights: Mapping[str, np.ndarray],
    density: float,
    *,
    scope: Scope = "global",
    score: Score = "lamp",
    floor: float = 0.01,
) -> dict[str, np.ndarray]:
    """Masks that keep about ``density`` of all weights (0 to 1), the best by score.

    ``scope`` "layer" keeps that share of each tensor, "global" of all together.
    No tensor keeps less than ``floor`` of its weights, nor less than two per output
    channel, nor more than it has non-zero weights.
    """
    scores = {name: SCORES[score](values) for name, values in weights.items()}
    if scope == "layer":
        cuts = {name: _cut(s.ravel(), density) for name, s in scores.items()}
    else:
        every = np.concatenate([s.ravel() for s in scores.values()] or [np.zeros(0)])
        cuts = dict.fromkeys(scores, _cut(every, density))
    out = {}
    for name, s in scores.items():
        least = max(int(np.ceil(floor * s.size)), 2 * s.shape[0] if s.ndim else 0)
        cut = min(cuts[name], _cut(s.ravel(), min(1.0, least / max(s.size, 1))))
        out[name] = (s >= cut) & (weights[name] != 0)
    return out


def _cut(scores: np.ndarray, density: float) -> float:
    """The score of the last weight that is kept."""
    count = round(density * scores.size)
    if count <= 0:
        return np.inf
    return float(np.partition(scores, scores.size - count)[scores.size - count])
