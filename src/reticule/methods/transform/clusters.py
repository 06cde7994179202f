"""Common parts of kernels: k-means over their coefficient vectors."""

from __future__ import annotations

import numpy as np

from reticule.forms import Common, Dense
from reticule.methods.transform.domain import Coefficients

ITERATIONS = 30
KERNELS_EACH = 4  # per centre at least
BLOCK = 1 << 22  # distances that are held at a time


def clustered(part: Coefficients, count: int, rng: np.random.Generator) -> Common | None:
    """Coefficients as centres and residuals, or None where there is nothing to share.

    That is: no transformed kernels, or too few of them for as many as two centres.  A layer
    gets fewer centres than ``count`` if it has less than four kernels for each.
    """
    if not part.spectral or not part.allowed.all():
        return None
    vectors = part.values.reshape(-1, *part.values.shape[-2:])
    count = min(count, len(vectors) // KERNELS_EACH)
    if count < 2:
        return None
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    centres, labels = kmeans(flat, count, rng)
    shared = centres.astype(np.float32).reshape(-1, *vectors.shape[1:])
    residual = (vectors - shared[labels]).reshape(part.values.shape)
    return Common(labels.reshape(part.values.shape[:-2]), Dense(shared), Dense(residual))


def kmeans(
    vectors: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (at most ``count``, dimensions) of vectors (n, dimensions), and labels (n,).

    Lloyd's algorithm from vectors drawn at random; a centre that loses all its vectors is
    dropped.  The centre with the most vectors comes first.

    >>> points = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [0.0, 2.0]])
    >>> centres, labels = kmeans(points, 2, np.random.default_rng(0))
    >>> centres.tolist(), labels.tolist()
    ([[0.0, 1.0], [9.0, 9.0]], [0, 0, 1, 0])
    """
    centres = np.unique(vectors[rng.choice(len(vectors), count, replace=False)], axis=0)
    labels = np.full(len(vectors), -1)
    for _ in range(ITERATIONS):
        found = nearest(vectors, centres)
        if np.array_equal(found, labels):
            break
        used, labels = np.unique(found, return_inverse=True)
        sums = np.zeros((len(used), vectors.shape[1]))
        np.add.at(sums, labels, vectors)
        centres = sums / np.bincount(labels)[:, None]
    order = np.argsort(-np.bincount(labels, minlength=len(centres)), kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return centres[order], places[labels]


def nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The number of the centre that is nearest to each vector."""
    lengths = np.square(centres).sum(1)
    rows = max(1, BLOCK // len(centres))
    parts = [
        np.argmin(lengths - 2 * vectors[first : first + rows] @ centres.T, axis=1)
        for first in range(0, len(vectors), rows)
    ]
    return np.concatenate(parts)
