"""What share of a layer's units would do: how much they say twice.

Units whose weights point in one direction, up to sign and size, say the same.  All measures give
a share of the layer that is not redundant (0 to 1), which does not depend on the size of the
weights: 1 where no two units are alike, 1/m where each is there m times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reticule.science.measures import Whole, communities, core_numbers
from reticule.science.optional import need

CHANCE = 3.0  # standard deviations of the cosine of two random directions
LEAST_CERTAIN = 0.9  # where directions are so short that chance reaches further than this


def likeness(weights: np.ndarray) -> Whole:
    """The graph of units that are alike: an edge weighs the size of their weights' cosine.

    ``weights`` (outputs, ...) has a unit in each row.  Cosines that two random directions could
    have as well (their standard deviation is one over the root of the weights of a unit) are no
    edges.  Yang et al. 2025 make such a graph of filters from their feature maps.

    >>> likeness(np.array([[1.0, 2.0], [-2.0, -4.0], [2.0, -1.0]])).matrix.toarray().round(6)
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    sparse = need("scipy.sparse", "measures of redundancy")
    rows = weights.reshape(len(weights), -1).astype(np.float64)
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, size, out=np.zeros_like(rows), where=size > 0)
    cosine = np.abs(rows @ rows.T)
    np.fill_diagonal(cosine, 0.0)
    bar = min(CHANCE / np.sqrt(max(rows.shape[1], 1)), LEAST_CERTAIN)
    matrix = sparse.csr_matrix(np.where(cosine > bar, np.minimum(cosine, 1.0), 0.0))
    return Whole(matrix, ("units",), np.zeros(len(rows), np.int64), {"units": 0})


def by_communities(weights: np.ndarray) -> float:
    """Units that a layer needs, by the communities of those that are alike, as a share.

    A community of m units with a mean cosine s counts as m / (1 + (m - 1) s) of them, as many as
    m equally correlated values are worth independent ones (Kish 1965).  Communities as
    redundancy of a layer: Gao, Wang, Jing, "Maximum redundancy pruning for network
    compression", Computer Vision and Image Understanding 259, 2025; the count is ours.

    >>> round(by_communities(np.repeat(np.eye(4), 3, axis=0)), 6)
    0.333333
    """
    graph = likeness(weights)
    labels = communities(graph)
    needed = float(np.count_nonzero(_live(weights) & (labels < 0)))
    for label in range(labels.max(initial=-1) + 1):
        own = np.flatnonzero(labels == label)
        inside = float(graph.matrix[own][:, own].sum()) / max(own.size, 1)  # (m - 1) s
        needed += own.size / (1 + inside)
    return needed / max(len(weights), 1)


def by_cores(weights: np.ndarray) -> float:
    """Units that a layer needs, by the cores of those that are alike, as a share.

    A unit in a core k has k others like it that are like each other's neighbours too, and counts
    as 1 / (1 + k).  Cores: Seidman 1983; of filters that are alike: Yang et al. 2025, who
    add entropy; the count is ours.

    >>> round(by_cores(np.repeat(np.eye(4), 3, axis=0)), 6)
    0.333333
    """
    each = 1.0 / (1.0 + core_numbers(likeness(weights)))
    return float(each[_live(weights)].sum()) / max(len(weights), 1)


def effective_rank(weights: np.ndarray) -> float:
    """The exponential of the entropy of the singular values' shares.

    Of the weights as a matrix (outputs, the rest).  Roy and Vetterli, "The effective rank: a
    measure of effective dimensionality", EUSIPCO 2007.  0 for weights that are all zero.

    >>> effective_rank(np.eye(5)), round(effective_rank(np.ones((5, 7))), 6)
    (5.0, 1.0)
    """
    values = np.linalg.svd(weights.reshape(len(weights), -1).astype(np.float64), compute_uv=False)
    values = values[values > 1e-12 * values.max(initial=0.0)]
    if not values.size:
        return 0.0
    shares = values / values.sum()
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 12)


def by_rank(weights: np.ndarray) -> float:
    """The effective rank as a share of the largest possible one.

    >>> by_rank(np.ones((4, 7)))
    0.25
    """
    matrix = weights.reshape(len(weights), -1)
    return effective_rank(matrix) / max(min(matrix.shape), 1)


def _live(weights: np.ndarray) -> np.ndarray:
    """Which units have any weight."""
    return np.asarray((weights.reshape(len(weights), -1) != 0).any(1))


SHARES: dict[str, Callable[[np.ndarray], float]] = {
    "communities": by_communities,
    "k-core": by_cores,
    "effective-rank": by_rank,
}
