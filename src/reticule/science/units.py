"""Which units layers share, as the graphs of a network need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reticule.graph import Graph
from reticule.graph.channels import trace


@dataclass(frozen=True)
class Wiring:
    """Units of both sides of a layer: their group, and the unit of each row and column."""

    rows: str
    columns: str
    row_units: np.ndarray
    column_units: np.ndarray


@dataclass(frozen=True)
class Units:
    """Groups of units by name with their sizes, and the wiring of each weighted layer by name."""

    groups: Mapping[str, int]
    layers: Mapping[str, Wiring]


def wired(graph: Graph) -> Units:
    """Follow the units of a graph from layer to layer; in each group they count from 0.

    An input of the network that is flattened before any layer reads it has a unit for each
    of its values (pixels), not for each channel: nothing treats a channel alike.

    >>> from reticule.graph import Graph, Node
    >>> nodes = (Node("Conv", "c", ("x", "w"), ("h",)), Node("Flatten", "f", ("h",), ("v",)),
    ...          Node("Gemm", "g", ("v", "u"), ("y",)))
    >>> tensors = {"w": (5, 3, 1, 1), "u": (10, 20)}
    >>> units = wired(Graph({"x": (3, 2, 2)}, ("y",), nodes, tensors))
    >>> dict(units.groups), units.layers["g"].column_units[:6].tolist()
    ({'x': 3, 'c': 5, 'g': 10}, [0, 0, 0, 0, 1, 1])
    """
    channels = trace(graph, tie_groups=False)
    place = np.zeros(channels.count, np.int64)
    names: dict[int, str] = {}
    for name, units in channels.groups.items():
        place[units] = np.arange(units.size)
        names |= dict.fromkeys(units.tolist(), name)
    sizes = {name: units.size for name, units in channels.groups.items()}
    flat = _flattened(
        graph, {node.name: channels.of(node)[1] for node, _ in graph.weights()}, names
    )
    sizes |= flat
    layers = {}
    for node, _ in graph.weights():
        rows, columns = channels.of(node)
        sides = (names[int(rows[0])], names[int(columns[0])])
        inputs = np.arange(columns.size) if sides[1] in flat else place[columns]
        layers[node.name] = Wiring(*sides, place[rows], inputs)
    return Units(sizes, layers)


def _flattened(
    graph: Graph, columns: Mapping[str, np.ndarray], names: Mapping[int, str]
) -> dict[str, int]:
    """Inputs of the network that layers only read as rows of all their values, and how many."""
    read: dict[str, set[int]] = {}
    for node, _ in graph.weights():
        units = columns[node.name]
        name = names[int(units[0])]
        if name in graph.inputs:
            whole = node.op == "Gemm" and units.size == int(np.prod(graph.inputs[name]))
            read.setdefault(name, set()).add(units.size if whole else 0)
    return {name: max(sizes) for name, sizes in read.items() if len(sizes) == 1 and 0 not in sizes}
