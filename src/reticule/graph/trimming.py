"""Dropping what no output needs: nodes, tensors, and names of values in between."""

from __future__ import annotations

from dataclasses import replace

from reticule.graph.network import Graph, Network


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


def named_after_nodes(graph: Graph) -> Graph:
    """The same graph with each value between nodes called as the node that makes it.

    Inputs, outputs and tensors keep their names; so do values whose node is called like
    one of those.

    >>> from reticule.graph import Graph, Node
    >>> nodes = (Node("Relu", "act", ("x",), ("t7",)), Node("Relu", "last", ("t7",), ("y",)))
    >>> named_after_nodes(Graph({"x": (3,)}, ("y",), nodes, {})).nodes[1].inputs
    ('act',)
    """
    kept = {*graph.inputs, *graph.outputs, *graph.tensors}
    new_names = {
        node.outputs[0]: node.name
        for node in graph.nodes
        if node.outputs[0] not in kept and node.name not in kept
    }
    left = {node.outputs[0] for node in graph.nodes} - set(new_names)
    new_names = {old: new for old, new in new_names.items() if new not in left}
    nodes = tuple(
        replace(
            node,
            inputs=tuple(new_names.get(name, name) for name in node.inputs),
            outputs=tuple(new_names.get(name, name) for name in node.outputs),
        )
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)
