"""A network as graphs: one weighted bipartite graph for each layer, sharing units between them.

Nodes are units (inputs, channels, features), edges are what a layer has between two of them.  A
convolution has many weights for one pair of channels; they become one edge, whose weight is
their norm, their sum, or their number.  With activations, an edge weighs what usually flows
through it: its weight times the root mean square of what comes in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.forms import Packed, Sparse
from reticule.graph import Network, Node
from reticule.science.optional import need
from reticule.science.units import Wiring, wired

EDGES = ("norm", "sum", "count")
_CHUNK = 1 << 22  # weights that are looked at together


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """The bipartite graph of a layer.

    ``matrix`` is a scipy.sparse CSR matrix of float32, outputs by inputs; what it stores are the
    edges.  ``rows`` and ``columns`` name the groups of units of both sides; ``row_units`` and
    ``column_units`` say which unit each row and column is, None where they are in order.
    """

    name: str
    rows: str
    columns: str
    matrix: Any
    row_units: np.ndarray | None = None
    column_units: np.ndarray | None = None

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit of the output, unit of the input and weight of each edge (three arrays)."""
        rows = np.repeat(np.arange(self.matrix.shape[0]), np.diff(self.matrix.indptr))
        columns = self.matrix.indices
        if self.row_units is not None:
            rows = self.row_units[rows]
        if self.column_units is not None:
            columns = self.column_units[columns]
        return rows, columns, self.matrix.data


@dataclass(frozen=True)
class NetworkGraph:
    """The multipartite graph of a network: sizes of the groups of units, and the layers."""

    groups: Mapping[str, int]
    layers: tuple[LayerGraph, ...]

    def __getitem__(self, name: str) -> LayerGraph:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ReticuleError(f"the network has no weighted layer '{name}'")


def network_graph(
    network: Network | Packed,
    edges: str = "norm",
    join_columns: bool = False,
    activations: Mapping[str, np.ndarray] | None = None,
) -> NetworkGraph:
    """The graphs of all convolutions and linear layers.

    ``edges``: the weight of an edge is the Frobenius "norm" of its weights, their "sum" with
    signs, or the "count" of those that are kept.  Kept is what a sparse form stores, else what is
    not zero.  ``join_columns`` makes the columns of one channel behind a flatten one column.
    ``activations``: for layers by name, what comes in (samples, inputs, ...).  Raises
    ReticuleError for settings and activations that do not fit.

    >>> from reticule.graph import Graph, Network, Node
    >>> graph = Graph({"x": (2, 4, 4)}, ("y",), (Node("Conv", "c", ("x", "w"), ("y",)),),
    ...               {"w": (3, 2, 3, 3)})
    >>> made = network_graph(Network(graph, {"w": np.ones((3, 2, 3, 3), "f4")}))
    >>> made["c"].matrix.toarray().tolist()
    [[3.0, 3.0], [3.0, 3.0], [3.0, 3.0]]
    """
    if edges not in EDGES:
        raise ReticuleError(f"edges='{edges}': take one of {', '.join(EDGES)}")
    units = wired(network.graph)
    unknown = set(activations or ()) - set(units.layers)
    if unknown:
        raise ReticuleError(f"activations: the network has no weighted layer '{min(unknown)}'")
    layers = []
    for node, name in network.graph.weights():
        wiring = units.layers[node.name]
        taps = np.arange(wiring.column_units.size)
        if join_columns:
            wiring, taps = _joined(wiring)
        matrix = _matrix(network, node, name, edges, taps)
        if activations is not None and node.name in activations:
            matrix.data *= _strength(activations[node.name], node.name, taps)[matrix.indices]
        layers.append(_layer(node.name, wiring, matrix, units.groups))
    return NetworkGraph(units.groups, tuple(layers))


def _layer(name: str, wiring: Wiring, matrix: Any, groups: Mapping[str, int]) -> LayerGraph:
    def plain(units: np.ndarray, group: str) -> np.ndarray | None:
        return None if np.array_equal(units, np.arange(groups[group])) else units

    return LayerGraph(
        name,
        wiring.rows,
        wiring.columns,
        matrix,
        plain(wiring.row_units, wiring.rows),
        plain(wiring.column_units, wiring.columns),
    )


def _joined(wiring: Wiring) -> tuple[Wiring, np.ndarray]:
    """The wiring with one column for each unit, and the new column of each old one."""
    kept, taps = np.unique(wiring.column_units, return_inverse=True)
    return Wiring(wiring.rows, wiring.columns, wiring.row_units, kept), taps


def _matrix(network: Network | Packed, node: Node, name: str, edges: str, taps: np.ndarray) -> Any:
    """Outputs by inputs, from pieces of rows so that nothing large is made in between."""
    shape = network.graph.tensors[name]
    settings: Mapping[str, Any] = node.settings
    inputs, per_group = int(taps.max(initial=-1)) + 1, shape[0] // settings.get("group", 1)
    of_column = np.arange(shape[1]).repeat(int(np.prod(shape[2:])))
    made = []
    for first, kept, values in _pieces(network, name, per_group if node.op == "Conv" else 0):
        own = of_column + (first // max(per_group, 1)) * shape[1]
        made.append(_reduced(kept, values, taps[own], inputs, edges))
    counts = np.concatenate([np.zeros(1, np.int64), *(each[0] for each in made)])
    indices = np.concatenate([np.zeros(0, np.int32), *(each[1] for each in made)])
    data = np.concatenate([np.zeros(0, np.float32), *(each[2] for each in made)])
    sparse = need("scipy.sparse", "graphs of networks")
    return sparse.csr_matrix((data, indices, np.cumsum(counts)), shape=(shape[0], inputs))


def _pieces(
    network: Network | Packed, name: str, per_group: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First row, what is kept and values of pieces of a weight tensor as a matrix."""
    mask = None
    if isinstance(network, Packed):
        form = network.forms[name]
        values = form.dense()
        mask = form.mask() if isinstance(form, Sparse) else None
    else:
        values = network.tensors[name]
    rows = values.reshape(values.shape[0], -1)
    kept = None if mask is None else mask.reshape(rows.shape)
    step = max(1, _CHUNK // max(rows.shape[1], 1))
    size = per_group or rows.shape[0]
    for start in range(0, rows.shape[0], max(size, 1)):
        for first in range(start, min(start + size, rows.shape[0]), step):
            some = slice(first, min(first + step, start + size))
            yield first, rows[some] != 0 if kept is None else kept[some], rows[some]


def _reduced(
    kept: np.ndarray, values: np.ndarray, at: np.ndarray, inputs: int, edges: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges of some rows: number of each row, column and weight of each edge."""
    own = np.array_equal(at, np.arange(inputs))
    if own:
        present = kept
        weight = values if edges == "sum" else np.abs(values)
        weight = np.ones_like(values) if edges == "count" else weight
    else:
        weight = number = _sums(kept, at, inputs)
        present = number > 0
        if edges == "sum":
            weight = _sums(values, at, inputs)
        elif edges == "norm":
            weight = np.sqrt(_sums(np.square(values, dtype=np.float64), at, inputs))
    columns = np.broadcast_to(np.arange(inputs, dtype=np.int32), present.shape)[present]
    return present.sum(axis=1), columns, weight[present].astype(np.float32)


def _sums(values: np.ndarray, at: np.ndarray, inputs: int) -> np.ndarray:
    """Sums of columns that have the same place (rows, inputs)."""
    order = np.argsort(at, kind="stable")
    places, starts = np.unique(at[order], return_index=True)
    total = np.zeros((values.shape[0], inputs))
    if places.size:
        total[:, places] = np.add.reduceat(values[:, order], starts, axis=1, dtype=np.float64)
    return total


def _strength(values: np.ndarray, name: str, taps: np.ndarray) -> np.ndarray:
    """Root mean square of what comes into each column."""
    array = np.asarray(values, np.float64)
    if array.ndim < 2 or array.shape[1] != taps.size or not array.size:
        raise ReticuleError(
            f"activations of '{name}' have the shape {array.shape}; "
            f"give (samples, {taps.size}, ...), with at least one sample"
        )
    square = (array**2).mean(axis=(0, *range(2, array.ndim)))
    number = np.bincount(taps)
    return np.sqrt(np.bincount(taps, square) / number).astype(np.float32)
