"""Where searches begin: more blocks than there will be, from spectra, degrees, or small clusters.

Spectral: the leading singular subspace of the layers' statistics, as they are or divided by the
roots of the degrees (Dhillon, "Co-clustering documents and words using bipartite spectral graph
partitioning", KDD 2001), then k-means.  Degrees: quantiles.  Agglomerative: many small clusters,
merged pair by pair where that costs least (Peixoto, "Efficient Monte Carlo and greedy heuristic
for the inference of stochastic block models", Physical Review E 89, 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reticule.science.blocks.merging import merged_down
from reticule.science.blocks.parts import Side
from reticule.science.blocks.problem import Problem, State

KINDS = ("spectral", "normalised", "degrees", "agglomerative")
_DIRECTIONS = 8
_MANY = 96  # blocks that the agglomerative start begins with


def started(
    problem: Problem, kind: str, blocks: tuple[int, ...], generator: np.random.Generator
) -> State:
    """A state of about so many blocks in each group."""
    if kind == "agglomerative":
        many = tuple(min(size, _MANY) for size in problem.sizes)
        first = started(problem, "spectral", many, generator)
        return merged_down(problem, first, blocks)
    labels = []
    for group, count in enumerate(blocks):
        if kind == "degrees":
            labels.append(_quantiles(_degrees(problem, group), count))
        else:
            features = _features(problem, group, kind == "normalised", generator)
            labels.append(k_means(features, count, generator))
    return problem.state(labels)


def k_means(points: np.ndarray, clusters: int, generator: np.random.Generator) -> np.ndarray:
    """Labels (n,) of points (n, d): seeds far apart at random (k-means++), then Lloyd's steps.

    >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> labels = k_means(points, 2, np.random.default_rng(0))
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    if points.shape[0] <= clusters:
        return np.arange(points.shape[0])
    centres = points[[int(generator.integers(points.shape[0]))]]
    nearest = ((points - centres[0]) ** 2).sum(axis=1)
    while centres.shape[0] < clusters and nearest.sum() > 0:
        chosen = int(np.searchsorted(np.cumsum(nearest), generator.random() * nearest.sum()))
        centres = np.vstack([centres, points[min(chosen, points.shape[0] - 1)]])
        nearest = np.minimum(nearest, ((points - centres[-1]) ** 2).sum(axis=1))
    labels = np.zeros(points.shape[0], np.int64)
    for _ in range(20):
        distance = (centres**2).sum(axis=1) - 2 * points @ centres.T
        new = distance.argmin(axis=1)
        if np.array_equal(new, labels):
            break
        labels = new
        counts = np.bincount(labels, minlength=centres.shape[0])
        for axis in range(points.shape[1]):
            sums = np.bincount(labels, points[:, axis], minlength=counts.size)
            centres[:, axis] = np.where(counts, sums / np.maximum(counts, 1), centres[:, axis])
    return labels


def _features(
    problem: Problem, group: int, normalised: bool, generator: np.random.Generator
) -> np.ndarray:
    """What is known of each unit (units, d), from all layers that it takes part in."""
    found = []
    for number, of_rows in problem.sides(group):
        part = problem.parts[number]
        side, other = part.side(of_rows), part.side(not of_rows)
        first = 0 if part.positions else 1
        for near, far in zip(side.statistics[first:], other.statistics[first:], strict=True):
            each = side.gathered(_subspace(near, far, normalised, generator))
            size = np.sqrt((each**2).mean())
            found.append(each / size if size > 0 else each)
    return np.hstack(found) if found else np.zeros((problem.sizes[group], 1))


def _subspace(near: Any, far: Any, normalised: bool, generator: np.random.Generator) -> np.ndarray:
    """Rows of a matrix in its leading right singular subspace, by iterated random projection.

    ``far`` is the transpose of ``near``.  Source: Halko, Martinsson & Tropp, SIAM Review 53, 2011.
    """
    rows, columns = near.shape
    if not rows or not columns:
        return np.zeros((rows, 1))
    weight_rows, weight_columns = np.ones((rows, 1)), np.ones((columns, 1))
    if normalised:
        weight_rows, weight_columns = _root_degrees(near), _root_degrees(far)
    basis = generator.standard_normal((columns, min(_DIRECTIONS, rows, columns)))
    for _ in range(4):
        image = np.asarray(near @ (basis / weight_columns)) / weight_rows
        image, _ = np.linalg.qr(image)
        basis, _ = np.linalg.qr(np.asarray(far @ (image / weight_rows)) / weight_columns)
    image = np.asarray(near @ (basis / weight_columns)) / weight_rows
    return image / weight_rows


def _root_degrees(matrix: Any) -> np.ndarray:
    """Roots of row sums, with their mean added so that small ones do not weigh too much."""
    sums = np.abs(np.asarray(matrix.sum(axis=1))).reshape(-1, 1)
    return np.sqrt(sums + sums.mean() + 1e-30)


def _degrees(problem: Problem, group: int) -> np.ndarray:
    """Sums of the last statistic over each unit: degree, or energy where there are weights."""
    total = np.zeros(problem.sizes[group])
    for number, of_rows in problem.sides(group):
        side: Side = problem.parts[number].side(of_rows)
        sums = np.asarray(side.statistics[-1].sum(axis=1)).reshape(-1, 1)
        each = side.gathered(sums)[:, 0]
        total += each / max(float(np.abs(each).mean()), 1e-300)
    return total


def _quantiles(values: np.ndarray, count: int) -> np.ndarray:
    """Equal values get equal labels; else about as many units in each block."""
    order = np.sort(values)
    cuts = order[(np.arange(1, count) * values.size) // count] if values.size else order
    return np.searchsorted(np.unique(cuts), values, side="right")
