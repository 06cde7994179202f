"""Graphs of networks for other programs: networkx, GraphML, npz."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.files import write_whole
from reticule.science.graphs import LayerGraph, NetworkGraph
from reticule.science.optional import need

MOST_EDGES = 5_000_000  # in Python objects: more take gigabytes


def to_networkx(graph: NetworkGraph) -> Any:
    """A networkx MultiGraph: nodes (group, unit), edges with ``layer`` and ``weight``.

    Every node has its ``group``.  Raises ReticuleError above five million edges, which
    take too much memory as Python objects; use :func:`save_npz` for those.

    >>> import scipy.sparse
    >>> layer = LayerGraph("fc", "fc", "x", scipy.sparse.csr_matrix(np.eye(2, 3, dtype="f4")))
    >>> made = to_networkx(NetworkGraph({"x": 3, "fc": 2}, (layer,)))
    >>> made.number_of_nodes(), sorted(made.edges(data="weight"))[0]
    (5, (('x', 0), ('fc', 0), 1.0))
    """
    networkx = need("networkx", "graphs in networkx")
    edges = sum(layer.matrix.nnz for layer in graph.layers)
    if edges > MOST_EDGES:
        raise ReticuleError(f"{edges:,} edges are too many for networkx; write an .npz file")
    made = networkx.MultiGraph()
    for name, size in graph.groups.items():
        made.add_nodes_from(((name, unit) for unit in range(size)), group=name)
    for layer in graph.layers:
        rows, columns, weights = (each.tolist() for each in layer.edges())
        made.add_edges_from(
            ((layer.columns, column), (layer.rows, row), {"layer": layer.name, "weight": weight})
            for row, column, weight in zip(rows, columns, weights, strict=True)
        )
    return made


def write_graphml(graph: NetworkGraph, path: str | os.PathLike[str]) -> None:
    """Write a GraphML file, for Gephi, Cytoscape, igraph and others; whole or not at all."""
    networkx = need("networkx", "GraphML")
    made = networkx.relabel_nodes(to_networkx(graph), lambda node: f"{node[0]}/{node[1]}")
    text = io.BytesIO()
    networkx.write_graphml(made, text)
    write_whole(path, text.getvalue())


def save_npz(graph: NetworkGraph, path: str | os.PathLike[str]) -> None:
    """Write all layers as compressed sparse rows into one .npz file, without pickles.

    ``groups`` and ``sizes`` name the groups of units.  Layer number i has the arrays
    ``i.data``, ``i.indices``, ``i.indptr``, ``i.shape``, ``i.names`` (layer, group of its
    rows, of its columns) and, where rows or columns are not the units in order, ``i.rows``
    and ``i.columns``: the unit of each.
    """
    arrays: dict[str, np.ndarray] = {
        "groups": np.array(list(graph.groups), np.str_),
        "sizes": np.array(list(graph.groups.values()), np.int64),
    }
    for number, layer in enumerate(graph.layers):
        for part in ("data", "indices", "indptr", "shape"):
            arrays[f"{number}.{part}"] = np.asarray(getattr(layer.matrix, part))
        arrays[f"{number}.names"] = np.array([layer.name, layer.rows, layer.columns], np.str_)
        for side, units in (("rows", layer.row_units), ("columns", layer.column_units)):
            if units is not None:
                arrays[f"{number}.{side}"] = units
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def load_npz(path: str | os.PathLike[str]) -> NetworkGraph:
    """Read what :func:`save_npz` wrote; raises ReticuleError naming the file otherwise."""
    sparse = need("scipy.sparse", "graphs of networks")
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = dict(found)
        groups = dict(zip(arrays["groups"].tolist(), arrays["sizes"].tolist(), strict=True))
        layers: list[LayerGraph] = []
        while (number := len(layers)) < sum(name.endswith(".names") for name in arrays):
            parts = [arrays[f"{number}.{part}"] for part in ("data", "indices", "indptr")]
            matrix = sparse.csr_matrix(tuple(parts), shape=tuple(arrays[f"{number}.shape"]))
            matrix.check_format(full_check=True)
            name, rows, columns = arrays[f"{number}.names"].tolist()
            units = (arrays.get(f"{number}.rows"), arrays.get(f"{number}.columns"))
            layers.append(LayerGraph(name, rows, columns, matrix, *units))
    except FileNotFoundError:
        raise ReticuleError(f"{os.fspath(path)}: there is no such file") from None
    except Exception as problem:
        raise ReticuleError(
            f"{os.fspath(path)}: not a graph that reticule wrote ({problem})"
        ) from None
    return NetworkGraph(groups, tuple(layers))
