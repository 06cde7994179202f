"""How many inputs fit: of a batch, and of all that are held between two layers."""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import numpy as np

from reticule.graph import Graph

BATCH = 64
LARGEST = 1 << 24  # entries of the largest value of a batch
HELD = 1 << 28  # entries of all values that are held in both networks: 1 GiB


def last_uses(graph: Graph) -> dict[str, int]:
    """The number of the last node that reads each value."""
    return {name: i for i, node in enumerate(graph.nodes) for name in node.inputs if name}


def batch_of(graph: Graph, most: int = BATCH, largest: int = LARGEST) -> int:
    """How many inputs at a time: fewer where a single value is large."""
    shapes = graph.shapes()
    entries = max((prod(s) for name, s in shapes.items() if name not in graph.tensors), default=1)
    return int(np.clip(largest // max(entries, 1), 1, most))


def room_for(graph: Graph, chosen: Collection[str]) -> int:
    """How many inputs can be held at every layer of the tensors in ``chosen``, both ways."""
    shapes, last = graph.shapes(), last_uses(graph)
    alive, most = dict.fromkeys(graph.inputs), 1
    for i, node in enumerate(graph.nodes):
        if len(node.inputs) > 1 and node.inputs[1] in chosen:
            most = max(most, sum(prod(shapes[name]) for name in alive))
        alive.update(dict.fromkeys(node.outputs))
        alive = {name: None for name in alive if last.get(name, -1) > i}
    return max(1, HELD // (2 * most))
