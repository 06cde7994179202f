"""Signs in the place of ReLUs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reticule.forms import Packed
from reticule.graph import Node
from reticule.methods.base import Context
from reticule.tuning.moments import channel_spreads, scaled_channels
from reticule.tuning.problem import evenly

IMAGES = 512


def with_signs(packed: Packed, context: Context) -> tuple[Packed, int]:
    """The network with Sign nodes for its Relu nodes, and how many there were.

    The sign of a channel does not change if it is divided by its standard deviation; the
    gradient's window |a| <= 1 then fits it.  So that is done where a layer's output goes
    straight into a Relu, and nowhere else.
    """
    graph = packed.graph
    relus = [node for node in graph.nodes if node.op == "Relu"]
    data = evenly(context.data.train, IMAGES)
    names = _feeding(packed, relus)
    spreads = channel_spreads(packed, names, data.inputs(np.arange(len(data))))
    for name, spread in spreads.items():
        packed = scaled_channels(packed, name, 1.0 / np.where(spread > 0, spread, 1.0))
    nodes = tuple(_signed(node) for node in packed.graph.nodes)
    return replace(packed, graph=replace(packed.graph, nodes=nodes)), len(relus)


def _signed(node: Node) -> Node:
    return replace(node, op="Sign") if node.op == "Relu" else node


def _feeding(packed: Packed, relus: list[Node]) -> list[str]:
    """Layers that own their weights and whose output one Relu reads, and nothing else."""
    graph = packed.graph
    uses = [name for node in graph.nodes for name in node.inputs] + list(graph.outputs)
    read = {node.inputs[0] for node in relus}
    return [
        node.name
        for node, _ in graph.weights()
        if node.outputs[0] in read
        and uses.count(node.outputs[0]) == 1
        and all(name in graph.tensors and uses.count(name) == 1 for name in node.inputs[1:] if name)
    ]
