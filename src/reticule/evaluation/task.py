"""What a network's outputs are: never assumed, read off the graph and the data.

A network is judged by its top-1 accuracy only where there are labels for it *and* its first
output has one score for each class.  Everything else is judged by its own answers
(:mod:`reticule.evaluation.fidelity`).

>>> from reticule.graph import Graph, Node
>>> graph = Graph({"x": (2,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": (3, 2)})
>>> classes_of(graph), scores_axis(graph, "y")
(3, 1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reticule.graph import Graph

if TYPE_CHECKING:
    from reticule.evaluation.inputs import Inputs

_SHARES = ("Softmax", "LogSoftmax")
_BOUNDED = ("Sigmoid", "HardSigmoid", "Tanh")
_CARRY_ON = ("Identity", "Flatten", "Reshape")  # values stay what they are


def classes_of(graph: Graph) -> int:
    """Number of classes that the first output has a score for; 0 if it is no list of scores.

    One output is not a classifier, and neither is a map or a sequence of scores.
    """
    shape = graph.shapes()[graph.outputs[0]][1:]
    long = [axis for axis in shape if axis != 1]
    return long[0] if len(long) == 1 and long[0] >= 2 else 0


def is_classified(graph: Graph, data: Inputs | None) -> bool:
    """Whether the network can be judged by top-1 accuracy on this data."""
    return data is not None and data.labelled and classes_of(graph) >= 2


def scores_axis(graph: Graph, output: str) -> int | None:
    """The axis of an output, batch included, along which it has one score for each class.

    That of a softmax; else, for a list (N, C) or a map (N, C, H, W) of unbounded scores, the
    second.  None where the values are no scores that exclude each other: after a sigmoid, or
    where there is but one.
    """
    shape = graph.shapes()[output]
    makers = {node.outputs[0]: node for node in graph.nodes}
    node = makers.get(output)
    if node is not None and node.op in _SHARES:
        axis = int(node.settings["axis"]) % len(shape)  # type: ignore[arg-type]
        return axis if axis and shape[axis] >= 2 else None
    while node is not None and node.op in _CARRY_ON and node.inputs[0] in makers:
        node = makers[node.inputs[0]]
    if node is not None and node.op in _BOUNDED:
        return None
    if len(shape) == 4 and shape[1] >= 2:
        return 1
    long = [axis for axis, length in enumerate(shape) if axis and length != 1]
    return long[0] if len(long) == 1 and shape[long[0]] >= 2 else None
