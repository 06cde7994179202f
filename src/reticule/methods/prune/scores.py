"""How much a weight matters: scores by which pruning ranks, and the masks they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

Score = Literal["magnitude", "lamp"]
Scope = Literal["global", "layer"]
Shares = Mapping[str, float]  # of layers, relative to each other


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


VALUE_BITS = 3.0  # what the value of a weight costs, beside its position


def position_prices(mask: np.ndarray, power: float) -> np.ndarray:
    """What it costs to keep each weight of a layer, over what it costs on average, to a power.

    A position is told in ``-log2 p`` bits where rows and columns are told first: p is
    ``min(1, k_i d_j / e)`` for degrees k and d in a mask of e weights (those of a configuration
    model), and the value in some bits more.  Rows are output channels, columns all the rest.
    With a quadratic loss a weight is worth its bits when ``w^2`` exceeds a multiple of them: the
    power 1/2.  Larger ones count what is saved later, when a line has become empty.

    Source: ours; rate and distortion in pruning: Wiedemann et al., "DeepCABAC", 2020.

    >>> mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    >>> position_prices(mask, 1.0).astype(float).round(1).tolist()  # the second row costs more
    [[1.0, 1.0, 1.0, 1.0], [1.1, 1.3, 1.3, 1.3]]
    """
    if power == 0 or not mask.any():
        return np.ones(mask.shape, np.float32)
    lines = mask.reshape(len(mask), -1)
    rows, columns = lines.sum(1) + 0.5, lines.sum(0) + 0.5
    bits = VALUE_BITS - np.log2(np.minimum(np.outer(rows, columns) / lines.sum(), 1.0))
    prices = (bits / bits[lines].mean()) ** power
    return prices.astype(np.float32).reshape(mask.shape)


def masks_at(
    weights: Mapping[str, np.ndarray],
    density: float,
    *,
    scope: Scope | Shares = "global",
    score: Score = "lamp",
    floor: float = 0.01,
) -> dict[str, np.ndarray]:
    """Masks that keep about ``density`` of all weights (0 to 1), the best by score.

    ``scope`` "layer" keeps that share of each tensor, "global" of all together; shares by
    name give tensors densities in proportion (:func:`shared_out`).  No tensor keeps less than
    ``floor`` of its weights, nor less than two per output channel, nor more than it has
    non-zero weights.
    """
    scores = {name: SCORES[score](values) for name, values in weights.items()}
    least = {name: _least(s, floor) for name, s in scores.items()}
    if isinstance(scope, Mapping):
        most = {name: np.count_nonzero(w) / max(w.size, 1) for name, w in weights.items()}
        sizes = {name: s.size for name, s in scores.items()}
        given = shared_out(scope, sizes, density, least, most)
        cuts = {name: _cut(s.ravel(), given[name]) for name, s in scores.items()}
    elif scope == "layer":
        cuts = {name: _cut(s.ravel(), density) for name, s in scores.items()}
    else:
        every = np.concatenate([s.ravel() for s in scores.values()] or [np.zeros(0)])
        cuts = dict.fromkeys(scores, _cut(every, density))
    out = {}
    for name, s in scores.items():
        cut = min(cuts[name], _cut(s.ravel(), least[name]))
        out[name] = (s >= cut) & (weights[name] != 0)
    return out


def shared_out(
    shares: Shares, sizes: Mapping[str, int], density: float, least: Shares, most: Shares
) -> dict[str, float]:
    """Densities in proportion to ``shares``, such that ``density`` of all weights stays.

    ``d = clip(c * share, least, most)`` for each tensor, with one c for all: what a clipped
    tensor has too much or too little, the others make up for.  Where even the least or the most
    of all tensors miss the density, they are what comes out.  ``sizes`` count weights.

    >>> least, most = {"a": 0.1, "b": 0.1}, {"a": 1.0, "b": 1.0}
    >>> shared_out({"a": 1.0, "b": 3.0}, {"a": 50, "b": 50}, 0.4, least, most)
    {'a': 0.2, 'b': 0.6}
    >>> shared_out({"a": 1.0, "b": 99.0}, {"a": 50, "b": 50}, 0.8, least, most)
    {'a': 0.6, 'b': 1.0}
    """
    names = list(sizes)
    largest = max((shares[name] for name in names), default=0.0)
    scale = largest if largest > 0 else 1.0
    share = np.array([shares[name] / scale if largest > 0 else 1.0 for name in names])
    share = np.maximum(share, 1e-9)
    size = np.array([sizes[name] for name in names], np.float64)
    high = np.array([most[name] for name in names], np.float64)
    low = np.minimum([least[name] for name in names], high)
    # What is kept grows with c, along straight lines between the points where a tensor is clipped.
    bends = np.unique(np.concatenate([low / share, high / share]))
    kept = np.array([float((size * np.clip(c * share, low, high)).sum()) for c in bends])
    factor = np.interp(density * size.sum(), kept, bends) if bends.size else 0.0
    found = np.clip(factor * share, low, high)
    return {name: round(float(d), 12) for name, d in zip(names, found, strict=True)}


def _least(scores: np.ndarray, floor: float) -> float:
    """The least share of a tensor that is kept: ``floor``, and two for each output channel."""
    count = max(int(np.ceil(floor * scores.size)), 2 * scores.shape[0] if scores.ndim else 0)
    return min(1.0, count / max(scores.size, 1))


def _cut(scores: np.ndarray, density: float) -> float:
    """The score of the last weight that is kept."""
    count = round(density * scores.size)
    if count <= 0:
        return np.inf
    return float(np.partition(scores, scores.size - count)[scores.size - count])
