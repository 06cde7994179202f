"""What network science measures of a network's graph.

All of it works on a :class:`Whole`: the multipartite graph of all layers as one symmetric sparse
matrix.  Measures that need a comparison get one from :func:`rewired`: the same layers with the
same degrees, and otherwise by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.science.blocks.starts import k_means
from reticule.science.graphs import LayerGraph, NetworkGraph
from reticule.science.optional import need

SWAPS = 10  # attempts for each edge when a layer is rewired
CLUSTERS = 12  # of the normalised cut, as in the source


@dataclass(frozen=True)
class Whole:
    """All units in one list, group after group; ``matrix`` holds sizes of weights, symmetric."""

    matrix: Any  # scipy.sparse CSR, (units, units)
    groups: tuple[str, ...]
    group: np.ndarray  # of each unit, as a number
    first: Mapping[str, int]  # unit of each group

    @classmethod
    def of(cls, graph: NetworkGraph) -> Whole:
        """Edges that several layers have between the same units are added up.

        >>> import scipy.sparse
        >>> layer = LayerGraph("fc", "fc", "x", scipy.sparse.csr_matrix([[0.0, -2.0]]))
        >>> Whole.of(NetworkGraph({"x": 2, "fc": 1}, (layer,))).matrix.toarray()[2].tolist()
        [0.0, 2.0, 0.0]
        """
        sparse = need("scipy.sparse", "network measures")
        names = tuple(graph.groups)
        sizes = np.array(list(graph.groups.values()), np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        first = {name: int(start) for name, start in zip(names, starts, strict=False)}
        rows, columns, weights = [], [], []
        for layer in graph.layers:
            r, c, w = layer.edges()
            rows.append(r + first[layer.rows])
            columns.append(c + first[layer.columns])
            weights.append(np.abs(w).astype(np.float64))
        count = int(starts[-1])
        parts = [np.concatenate([np.zeros(0, np.int64), *p]) for p in (rows, columns)]
        data = np.concatenate([np.zeros(0), *weights])
        half = sparse.coo_matrix((data, tuple(parts)), shape=(count, count)).tocsr()
        group = np.repeat(np.arange(len(names)), sizes)
        return cls((half + half.T).tocsr(), names, group, first)

    @property
    def units(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def degrees(self) -> np.ndarray:
        """Edges of each unit."""
        return np.diff(self.matrix.indptr)

    @property
    def strengths(self) -> np.ndarray:
        """Sum of the sizes of each unit's edges."""
        return np.asarray(self.matrix.sum(1)).ravel()


def rewired(graph: NetworkGraph, rng: np.random.Generator) -> NetworkGraph:
    """The null model: each layer's edges by chance, the degrees of both its sides kept.

    Pairs of edges exchange their ends where no edge is doubled by that (Maslov and Sneppen,
    Science 296, 2002); then weights are shuffled among the edges of a layer.  In a complete
    layer only the weights change places.
    """
    sparse = need("scipy.sparse", "network measures")
    layers = []
    for layer in graph.layers:
        matrix = layer.matrix.tocsr()
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        columns = _exchanged(rows, matrix.indices.astype(np.int64), matrix.shape, rng)
        data = matrix.data[rng.permutation(matrix.nnz)]
        made = sparse.coo_matrix((data, (rows, columns)), shape=matrix.shape).tocsr()
        units = layer.row_units, layer.column_units
        layers.append(LayerGraph(layer.name, layer.rows, layer.columns, made, *units))
    return NetworkGraph(graph.groups, tuple(layers))


def _exchanged(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """The columns of edges after many exchanges, many at a time."""
    columns = columns.copy()
    if rows.size < 2 or rows.size == shape[0] * shape[1]:
        return columns
    taken = np.sort(rows * shape[1] + columns)
    for _ in range(SWAPS):
        pairs = rng.permutation(rows.size)[: rows.size // 2 * 2].reshape(-1, 2)
        one = rows[pairs[:, 0]] * shape[1] + columns[pairs[:, 1]]
        two = rows[pairs[:, 1]] * shape[1] + columns[pairs[:, 0]]
        new = np.concatenate([one, two])
        place = np.minimum(np.searchsorted(taken, new), taken.size - 1)
        free = taken[place] != new
        _, index, count = np.unique(new, return_inverse=True, return_counts=True)
        free &= count[index] == 1
        fine = free[: len(pairs)] & free[len(pairs) :]
        a, b = pairs[fine].T
        columns[a], columns[b] = columns[b], columns[a]
        taken = np.sort(rows * shape[1] + columns)
    return columns


@dataclass(frozen=True)
class Compared:
    """A measure beside its values in the null model: mean, spread, z and p (one-sided, above)."""

    value: float
    mean: float
    spread: float
    z: float
    p: float

    @classmethod
    def of(cls, value: float, null: np.ndarray) -> Compared:
        """``p`` counts the observed value as one of the random ones, so that it is never 0."""
        null = np.asarray(null, np.float64)
        spread = float(null.std(ddof=1)) if null.size > 1 else 0.0
        mean = float(null.mean()) if null.size else float("nan")
        z = (value - mean) / spread if spread > 0 else 0.0
        above = np.count_nonzero(null >= value - 1e-12)
        return cls(value, mean, spread, float(z), float((above + 1) / (null.size + 1)))


def communities(whole: Whole, resolution: float = 1.0, seed: int = 0) -> np.ndarray:
    """Labels (units,) by Louvain's method on the sizes of weights; units without edges get -1.

    Blondel, Guillaume, Lambiotte, Lefebvre, "Fast unfolding of communities in large
    networks", 2008.  Communities are numbered from the largest.
    """
    labels = np.full(whole.units, -1)
    live = np.flatnonzero(whole.degrees)
    if not live.size:
        return labels
    clustering = need("sknetwork.clustering", "communities")
    model = clustering.Louvain(resolution=resolution, random_state=seed)
    found = model.fit_predict(whole.matrix[live][:, live])
    order = np.argsort(-np.bincount(found), kind="stable")
    labels[live] = np.argsort(order)[found]
    return labels


def modularity(whole: Whole, labels: np.ndarray) -> float:
    """Share of the weight inside of communities, less what degrees alone would put there.

    Newman, "Analysis of weighted networks", Physical Review E 70, 2004.
    """
    total = float(whole.matrix.sum())
    if total <= 0:
        return 0.0
    coo = whole.matrix.tocoo()
    same = (labels[coo.row] == labels[coo.col]) & (labels[coo.row] >= 0)
    strength = np.bincount(labels[labels >= 0], whole.strengths[labels >= 0])
    return float(coo.data[same].sum() / total - np.square(strength / total).sum())


def normalised_cut(whole: Whole, clusters: int = CLUSTERS, seed: int = 0) -> float:
    """The least that was found for the sum over clusters of cut over volume; low is clusterable.

    Spectral clustering: Shi and Malik, 2000.  As a measure of trained networks: Filan et al.,
    "Clusterability in neural networks", 2021.
    """
    linalg = need("scipy.sparse.linalg", "network measures")
    sparse = need("scipy.sparse", "network measures")
    live = np.flatnonzero(whole.degrees)
    clusters = min(clusters, live.size - 1)
    if clusters < 2:
        return 0.0
    matrix = whole.matrix[live][:, live]
    strength = np.asarray(matrix.sum(1)).ravel()
    root = sparse.diags(1 / np.sqrt(strength))
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(live.size)
    # Algebraically largest: layers are bipartite, and have each eigenvalue with both signs.
    _, vectors = linalg.eigsh(root @ matrix @ root, k=clusters, which="LA", v0=start)
    points = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    best = np.inf
    for _ in range(5):
        labels = k_means(points, clusters, rng)
        marks = sparse.csr_matrix(
            (np.ones(live.size), (np.arange(live.size), labels)), shape=(live.size, clusters)
        )
        inside = (marks.T @ matrix @ marks).diagonal()
        volume = marks.T @ strength
        cut = float(((volume - inside) / np.maximum(volume, 1e-12))[volume > 0].sum())
        best = min(best, cut)
    return best


def rich_club(whole: Whole, share: float = 0.1) -> float:
    """Density among the ``share`` of units with the most edges, of those that could be joined.

    Zhou and Mondragon, 2004; against the null model it says whether hubs prefer hubs (Colizza
    et al., "Detecting rich-club ordering in complex networks", Nature Physics 2, 2006).
    """
    count = max(2, round(share * whole.units))
    rich = np.argsort(-whole.degrees, kind="stable")[:count]
    inside = whole.matrix[rich][:, rich]
    sizes = np.bincount(whole.group[rich], minlength=len(whole.groups))
    pairs = (count**2 - np.square(sizes).sum()) / 2
    return float(inside.nnz / 2 / pairs) if pairs else 0.0


def core_numbers(whole: Whole) -> np.ndarray:
    """For each unit the largest k such that it is in a subgraph of units with k edges or more.

    Seidman, 1983; by peeling (Batagelj and Zaversnik, 2003).
    """
    topology = need("sknetwork.topology", "network measures")
    cores = np.zeros(whole.units, np.int64)
    live = np.flatnonzero(whole.degrees)
    if live.size:
        cores[live] = topology.get_core_decomposition(whole.matrix[live][:, live])
    return cores


def butterflies(layer: LayerGraph) -> int:
    """Pairs of outputs that share a pair of inputs: the smallest cycle of a bipartite graph.

    Counted from the numbers of inputs that two outputs share (Wang, Lin, Zhang, ICDE 2019).
    """
    sparse = need("scipy.sparse", "network measures")
    mask = sparse.csr_matrix(
        (np.ones(layer.matrix.nnz), layer.matrix.indices, layer.matrix.indptr), layer.matrix.shape
    )
    if mask.shape[0] > mask.shape[1]:
        mask = mask.T.tocsr()
    shared = (mask @ mask.T).tocsr()
    total = float((shared.data * (shared.data - 1)).sum())
    own = np.diff(mask.indptr).astype(np.float64)
    return round((total - float((own * (own - 1)).sum())) / 4)


def path_shares(graph: NetworkGraph) -> np.ndarray:
    """For each unit, the share of all weighted paths from inputs to outputs that go through it.

    A path weighs the product of its edges' sizes, each taken as a share of all that comes into
    its output.  In a network of layers all paths are shortest ones, so that this is its
    betweenness (Freeman 1977), and what is counted where residual additions make some longer.
    """
    whole = Whole.of(graph)
    edges = []
    for layer in graph.layers:
        rows, columns, weights = layer.edges()
        rows, columns = rows + whole.first[layer.rows], columns + whole.first[layer.columns]
        size = np.abs(weights).astype(np.float64)
        into = np.bincount(rows, size, minlength=whole.units)
        edges.append((rows, columns, size / np.maximum(into[rows], 1e-300)))
    made = {whole.groups.index(layer.rows) for layer in graph.layers}
    read = {whole.groups.index(layer.columns) for layer in graph.layers}
    forward = np.where(np.isin(whole.group, list(read - made)), 1.0, 0.0)
    backward = np.where(np.isin(whole.group, list(made - read)), 1.0, 0.0)
    for rows, columns, share in edges:
        forward += np.bincount(rows, share * forward[columns], minlength=whole.units)
    for rows, columns, share in reversed(edges):
        backward += np.bincount(columns, share * backward[rows], minlength=whole.units)
    through = forward * backward
    total = through[np.isin(whole.group, list(made - read))].sum()
    return through / total if total > 0 else through


def inequality(values: np.ndarray) -> float:
    """Gini's coefficient: 0 where all are alike, near 1 where one has everything.

    >>> round(inequality(np.array([0.0, 0.0, 0.0, 1.0])), 2)
    0.75
    """
    ordered = np.sort(np.asarray(values, np.float64))
    total = ordered.sum()
    if total <= 0:
        return 0.0
    rank = np.arange(1, ordered.size + 1)
    return float(
        2 * (rank * ordered).sum() / (ordered.size * total) - (ordered.size + 1) / ordered.size
    )


def compared(
    graph: NetworkGraph,
    measure: Callable[[NetworkGraph], float],
    times: int = 20,
    seed: int = 0,
) -> Compared:
    """A measure of a graph, and of ``times`` rewired ones."""
    rng = np.random.default_rng(seed)
    null = np.array([measure(rewired(graph, rng)) for _ in range(times)])
    return Compared.of(measure(graph), null)
