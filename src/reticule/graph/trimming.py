"""Dropping nodes and tensors that no output needs."""

from __future__ import annotations

from dataclasses import replace

from reticule.graph.network import Network


def trimmed(network: Network) -> Network:
    """The same network without nodes and tensors that contribute to no output.

    Inputs are kept, used or not: they are the network's interface.
    """
    needed = set(network.graph.outputs)
    nodes = []
    for node in reversed(network.graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            nodes.append(node)
    tensors = {name: t for name, t in network.tensors.items() if name in needed}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    graph = replace(network.graph, nodes=tuple(reversed(nodes)), tensors=shapes)
    return Network(graph, tensors)
