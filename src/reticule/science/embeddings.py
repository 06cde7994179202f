"""Embeddings of units: a few coordinates for each row and column of a layer's weight graph.

A layer is a bipartite graph A = [[0, |W|], [|W|^T, 0]].  A walk on it steps from outputs to
inputs and back, so that only odd powers of P = D^-1 A connect the two sides; with P_r = D_r^-1 W
and P_c = D_c^-1 W^T that block of the power 2j + 1 is (P_r P_c)^j P_r.  From such a *proximity*
S (rows, columns) = U diag(s) V^T the d largest singular values make the coordinates U sqrt(s) of
rows and V sqrt(s) of columns:

==========  =======================================================================
kind        proximity of a graph W without signs
==========  =======================================================================
netmf       log max(M, 1), M = vol / (b T) (sum of the odd P^r, r <= T) D^-1: DeepWalk
            in closed form, LINE with T = 1 (Qiu et al., "Network embedding as matrix
            factorization", WSDM 2018, theorems 2.1 and 2.3)
grarep      for each odd k <= T: max(log(P^k_ij / mean over i of P^k_ij) - log b, 0);
            coordinates of all k side by side (Cao et al., CIKM 2015, algorithm 1)
spectral    D_r^-1/2 W D_c^-1/2 (Dhillon, KDD 2001)
svd         W itself, with its signs: the best there is, see below
random      none: normal numbers, to compare
==========  =======================================================================

T is the ``window``, b the number of ``negatives``, vol the sum of all degrees.

Magnitudes alone say next to nothing about a layer, whose signs are half of what it knows.  So
W+ = max(W, 0) and W- = max(-W, 0) are two graphs: ``signs="difference"`` takes the proximity
S(W+) - S(W-) (ours), "concatenated" sets the coordinates of both side by side, "none" embeds |W|.

**The bound** (Eckart & Young 1936): of all matrices of rank d, the one of the d largest singular
values is nearest to W in the Frobenius norm.  So X C Y^T with any embeddings X, Y of d coordinates
is never nearer to W than ``svd`` is; what embeddings can be good for is a start for training, an
order of units, and coordinates that several layers share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.science.blocks.result import Estimator

KINDS = ("netmf", "grarep", "spectral", "svd", "random")
SIGNS = ("difference", "concatenated", "none")
_TINY = 1e-300
_WHOLE = 1200  # of a matrix whose smaller side is at most this, all singular vectors are found
_MORE, _ROUNDS = 16, 4  # of the randomised search otherwise: spare directions, iterations


class UnitEmbedding(Estimator):
    """Coordinates of the rows and columns of weights, by one of :data:`KINDS`.

    ``dimensions`` is how many, for rows and columns alike or for each.  After ``fit``:
    ``row_embedding_`` (rows, d) and ``column_embedding_`` (columns, d), float64.  A side with
    fewer units than ``dimensions`` has as many coordinates as units; directions in which the
    proximity says nothing are random, by ``seed``.

    >>> blocks = np.kron(np.array([[1.0, 0.1], [0.1, 1.0]]), np.ones((3, 4)))
    >>> embedding = UnitEmbedding("spectral", 2).fit(blocks)
    >>> embedding.row_embedding_.shape, embedding.column_embedding_.shape
    ((6, 2), (8, 2))
    >>> round(embedding.error_, 3)  # of two dimensions, all that these weights have
    0.0
    """

    row_embedding_: np.ndarray
    column_embedding_: np.ndarray
    error_: float

    def __init__(
        self,
        kind: str = "netmf",
        dimensions: int | tuple[int, int] = 16,
        window: int = 3,
        negatives: float = 1.0,
        signs: str = "difference",
        seed: int = 0,
    ) -> None:
        self.kind, self.dimensions, self.window = kind, dimensions, window
        self.negatives, self.signs, self.seed = negatives, signs, seed

    def fit(self, weights: Any, y: Any = None) -> UnitEmbedding:
        """Embed rows and columns of weights (rows, columns) or (rows, columns, taps ...).

        Kernels count by their Frobenius norms.  ``error_`` is the relative error of the weights
        projected on both embeddings.  ``y`` is ignored.  Raises ReticuleError for what are no
        finite weights and for settings that do not exist.
        """
        array = checked(weights)
        wanted = self.dimensions
        each = (wanted, wanted) if isinstance(wanted, int) else wanted
        sides = [side_proximities(self, array, axis) for axis in (0, 1)]
        found = [
            coordinates(sides[axis], array.shape[axis], each[axis], self.seed + axis)
            for axis in (0, 1)
        ]
        self.row_embedding_, self.column_embedding_ = found
        core = projected(array, *found)[1]
        left = np.square(array).sum() - np.square(core).sum()
        self.error_ = float(np.sqrt(max(left, 0.0) / max(np.square(array).sum(), _TINY)))
        return self


def checked(weights: Any) -> np.ndarray:
    """The weights in float64; ReticuleError for fewer than two axes, none, or infinite ones."""
    array = np.asarray(weights, np.float64)
    if array.ndim < 2 or not array.size or not np.isfinite(array).all():
        raise ReticuleError(f"an embedding needs finite weights of two axes, not {array.shape}")
    return array


def side_proximities(settings: UnitEmbedding, weights: np.ndarray, axis: int) -> list[np.ndarray]:
    """Matrices (units, others) whose left singular vectors are the coordinates of an axis.

    None for "random"; several where coordinates are to stand side by side.
    """
    kind, signs = settings.kind, settings.signs
    if kind not in KINDS:
        raise ReticuleError(f"kind='{kind}': take one of {', '.join(KINDS)}")
    if signs not in SIGNS:
        raise ReticuleError(f"signs='{signs}': take one of {', '.join(SIGNS)}")
    if settings.window < 1 or not settings.negatives > 0:
        raise ReticuleError("an embedding needs a window of at least 1 and negatives above 0")
    if kind == "random":
        return []
    if kind == "svd":
        return [np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)]
    parts = (np.abs(weights),) if signs == "none" else (weights.clip(0), (-weights).clip(0))
    graphs = [np.sqrt(np.square(p).reshape(*p.shape[:2], -1).sum(2)) for p in parts]
    found = [list(proximities(kind, g, settings.window, settings.negatives)) for g in graphs]
    if signs == "difference":
        found = [[plus - minus for plus, minus in zip(*found, strict=True)]]
    return [each if axis == 0 else each.T for matrices in found for each in matrices]


def proximities(kind: str, graph: np.ndarray, window: int, negatives: float) -> list[np.ndarray]:
    """What two units of a bipartite graph without signs (rows, columns) are to each other.

    One matrix of the graph's shape; of "grarep" one for each odd power up to ``window``.

    >>> proximities("netmf", np.eye(2), 1, 1.0)[0].round(3).tolist()  # log 4
    [[1.386, 0.0], [0.0, 1.386]]
    """
    rows = np.maximum(graph.sum(1), _TINY)[:, None]
    columns = np.maximum(graph.sum(0), _TINY)
    if kind == "spectral":
        return [graph / np.sqrt(rows) / np.sqrt(columns)]
    walks = _walks(graph / rows, graph.T / columns[:, None], window)
    if kind == "netmf":
        volume = 2 * graph.sum()
        mean = volume / (negatives * window) * np.sum(list(walks), axis=0) / columns
        return [np.log(np.maximum(mean, 1))]
    ratios = (walk / np.maximum(walk.mean(0), _TINY) for walk in walks)
    return [np.maximum(np.log(np.maximum(r, _TINY)) - np.log(negatives), 0) for r in ratios]


def _walks(down: np.ndarray, up: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """Where walks of 1, 3, 5, ... steps from each row end."""
    walk = down
    yield walk
    for _ in range(3, window + 1, 2):
        walk = (walk @ up) @ down
        yield walk


def coordinates(
    matrices: Sequence[np.ndarray], units: int, dimensions: int, seed: int = 0
) -> np.ndarray:
    """Coordinates (units, d) from proximities, which share the dimensions.

    >>> coordinates([np.diag([4.0, 1.0, 0.0])], 3, 1).round(6).tolist()
    [[2.0], [0.0], [0.0]]
    """
    if dimensions < 1:
        raise ReticuleError(f"an embedding needs at least one dimension, not {dimensions}")
    rng = np.random.default_rng(seed)
    dimensions = min(dimensions, units)
    found = []
    for number, matrix in enumerate(matrices):
        share = dimensions // len(matrices) + (number < dimensions % len(matrices))
        found.append(leading(matrix, share, rng))
    have = sum(each.shape[1] for each in found)
    found.append(1e-6 * rng.standard_normal((units, dimensions - have)))
    return np.hstack(found)


def leading(matrix: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Left singular vectors of the largest singular values, times their roots: (rows, count).

    Fewer where there are no more.  Signs are such that the largest coordinate of each vector is
    positive.  Large matrices are searched at random (Halko, Martinsson, Tropp 2011).
    """
    most = count + _MORE
    if min(matrix.shape) > max(_WHOLE, 2 * most):
        basis = orthonormal(matrix @ rng.standard_normal((matrix.shape[1], most)))
        for _ in range(_ROUNDS):
            basis = orthonormal(matrix @ orthonormal(matrix.T @ basis))
        small, values, _ = np.linalg.svd(basis.T @ matrix, full_matrices=False)
        vectors = basis @ small
    else:
        vectors, values, _ = np.linalg.svd(matrix, full_matrices=False)
    count = min(
        count, int(np.count_nonzero(values > 1e-12 * max(values[:1].max(initial=0), _TINY)))
    )
    vectors, values = vectors[:, :count], values[:count]
    at = np.abs(vectors).argmax(0) if vectors.size else np.zeros(count, int)
    turned = np.where(vectors[at, np.arange(count)] < 0, -1.0, 1.0)
    return vectors * turned * np.sqrt(values)


def orthonormal(embedding: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span what those of an embedding span."""
    scale = np.maximum(np.linalg.norm(embedding, axis=0), _TINY)
    return np.linalg.qr(embedding / scale)[0]


def projected(
    weights: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, C and Y with W ~ X C Y^T, nearest to W for what the two embeddings span.

    X and Y are orthonormal, so that C = X^T W Y for every tap of a kernel: the same as
    C = X^+ W (Y^+)^T of the embeddings themselves.
    """
    left, right = orthonormal(rows), orthonormal(columns)
    core = np.einsum("oi...,oa,ib->ab...", weights, left, right, optimize=True)
    return left, core, right
