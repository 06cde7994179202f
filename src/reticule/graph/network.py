"""The network: a graph of operators plus named weight tensors.

The representation is deliberately small.  Operators carry ONNX's names and
meaning (see :mod:`reticule.graph.operators`), everything that is a parameter of
an operator is an attribute, and only weights are tensors.  The first axis of
every input is the batch, of any size; shapes of inputs are given without it.

>>> import numpy as np
>>> from reticule.graph import Graph, Network, Node
>>> graph = Graph(
...     inputs={"x": (4,)},
...     outputs=("y",),
...     nodes=(Node("Gemm", "fc", ("x", "fc.weight", "fc.bias"), ("y",)),),
...     tensors={"fc.weight": (3, 4), "fc.bias": (3,)},
... )
>>> net = Network(graph, {"fc.weight": np.ones((3, 4), "f4"), "fc.bias": np.zeros(3, "f4")})
>>> net.graph.shapes()["y"]
(1, 3)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from reticule.errors import ModelError
from reticule.graph.operators import OPERATORS
from reticule.graph.shapes import Attribute, Shape


@dataclass(frozen=True)
class Node:
    """One operator application.

    ``inputs`` name the network's inputs, tensors or other nodes' outputs; an
    absent optional input in the middle is the empty string.  Attributes that
    have their default value may be left out.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Attribute]:
        """All attributes of the operator, defaults filled in."""
        return {**OPERATORS[self.op].defaults(), **self.attributes}


@dataclass(frozen=True)
class Graph:
    """Topology: inputs, nodes in execution order, outputs, and the tensors' shapes."""

    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Shape]

    def shapes(self, batch: int = 1) -> dict[str, Shape]:
        """Shape of every value, for a given batch size; raises ModelError where they clash."""
        known: dict[str, Shape] = {name: (batch, *shape) for name, shape in self.inputs.items()}
        known.update(self.tensors)
        for node in self.nodes:
            ins = [known[name] if name else None for name in node.inputs]
            try:
                outs = OPERATORS[node.op].infer(ins, node.settings)
            except (ValueError, IndexError, TypeError, ZeroDivisionError) as problem:
                raise ModelError(
                    f"node '{node.name}' ({node.op}): {problem or 'shapes do not fit'}"
                ) from None
            known.update(zip(node.outputs, outs, strict=True))
        return known

    def layers(self) -> Iterator[tuple[Node, tuple[str, ...]]]:
        """Nodes that own weights, in graph order, with the tensors that they are first to use."""
        seen: set[str] = set()
        for node in self.nodes:
            own = tuple(
                dict.fromkeys(n for n in node.inputs if n in self.tensors and n not in seen)
            )
            seen.update(own)
            if own:
                yield node, own

    def weights(self) -> Iterator[tuple[Node, str]]:
        """Convolutions and linear layers with the name of their weight tensor, each tensor once."""
        seen: set[str] = set()
        for node in self.nodes:
            if node.op not in ("Conv", "Gemm") or node.inputs[1] in seen:
                continue
            if node.inputs[1] in self.tensors:
                seen.add(node.inputs[1])
                yield node, node.inputs[1]

    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of each convolution and linear layer for one image, by node name."""
        shapes = self.shapes()
        return {
            node.name: prod(self.tensors[weight])
            // max(self.tensors[weight][0], 1)
            * prod(shapes[node.outputs[0]])
            for node in self.nodes
            if node.op in ("Conv", "Gemm") and (weight := node.inputs[1]) in self.tensors
        }

    def check(self) -> Graph:
        """Return the graph if it is well formed, else raise ModelError naming the node."""
        known = set(self.inputs) | set(self.tensors)
        if len(known) != len(self.inputs) + len(self.tensors):
            raise ModelError("an input and a tensor have the same name")
        if not self.inputs or not self.outputs:
            raise ModelError("a network needs at least one input and one output")
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                raise ModelError(f"two nodes are called '{node.name}'")
            names.add(node.name)
            _check_node(node, known)
            known.update(node.outputs)
        if missing := [name for name in self.outputs if name not in known]:
            raise ModelError(f"output '{missing[0]}' is computed by no node")
        self.shapes()
        return self


def _check_node(node: Node, known: set[str]) -> None:
    where = f"node '{node.name}' ({node.op})"
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise ModelError(f"{where}: unknown operator")
    least, most = operator.arity
    if not least <= len(node.inputs) <= most or "" in node.inputs[:least]:
        raise ModelError(f"{where}: has {len(node.inputs)} inputs, needs {least} to {most}")
    if len(node.outputs) != 1:
        raise ModelError(f"{where}: has {len(node.outputs)} outputs, needs one")
    if missing := [name for name in node.inputs if name and name not in known]:
        raise ModelError(f"{where}: input '{missing[0]}' is not computed before it is used")
    if node.outputs[0] in known or not node.outputs[0]:
        raise ModelError(f"{where}: output '{node.outputs[0]}' is defined twice or has no name")
    if problem := operator.problem(node.attributes):
        raise ModelError(f"{where}: {problem}")


@dataclass(frozen=True)
class Network:
    """A graph and the values of its tensors: float32 arrays in the graph's shapes."""

    graph: Graph
    tensors: Mapping[str, np.ndarray]

    @property
    def parameters(self) -> int:
        """Number of weights, biases and batch-norm parameters; running statistics excluded."""
        statistics = {
            name
            for node in self.graph.nodes
            if node.op == "BatchNormalization"
            for name in node.inputs[3:5]
        }
        return sum(t.size for name, t in self.tensors.items() if name not in statistics)

    def check(self) -> Network:
        """Return the network if graph and tensors agree and all weights are finite."""
        self.graph.check()
        if set(self.tensors) != set(self.graph.tensors):
            odd = sorted(set(self.tensors) ^ set(self.graph.tensors))[0]
            raise ModelError(f"tensor '{odd}' is in the graph or in the weights, but not in both")
        for name, tensor in self.tensors.items():
            if tensor.shape != tuple(self.graph.tensors[name]):
                raise ModelError(
                    f"tensor '{name}' has shape {tensor.shape}, "
                    f"the graph says {self.graph.tensors[name]}"
                )
            if not np.isfinite(tensor).all():
                bad = int(tensor.size - np.isfinite(tensor).sum())
                raise ModelError(
                    f"tensor '{name}' has {bad} weights that are NaN or infinite; "
                    "repair or retrain the network first"
                )
        return self

    def with_tensors(self, changed: Mapping[str, np.ndarray]) -> Network:
        """The same network with some tensors replaced (shapes may change with them)."""
        tensors = {**self.tensors, **changed}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        return Network(replace(self.graph, tensors=shapes), tensors)
