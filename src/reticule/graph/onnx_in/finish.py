"""The last steps of reading an ONNX file: output names, biases, and what nothing uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reticule.errors import ModelError
from reticule.graph.network import Graph, Network, Node
from reticule.graph.onnx_in.builder import Builder, unique
from reticule.graph.onnx_in.constants import PROBES
from reticule.graph.shapes import Shape
from reticule.graph.trimming import trimmed


def finish(
    builder: Builder, inputs: Mapping[str, Shape], outputs: Sequence[str], label: str
) -> Network:
    """The network that the builder holds, with the outputs under the names of the file."""
    outputs = tuple(dict.fromkeys(outputs))
    if not outputs:
        raise ModelError(f"{label}: has no outputs; export it again")
    nodes = list(builder.nodes)
    for name in outputs:
        _check_output(builder, name, label)
        nodes = _named_output(builder, nodes, name, outputs)
    nodes = _with_biases(builder, nodes, outputs)
    nodes, inputs = _channels_first(nodes, inputs, outputs)
    used = {name for node in nodes for name in node.inputs} | set(outputs)
    kept = {name: shape for name, shape in inputs.items() if name in used}
    shapes = {name: tensor.shape for name, tensor in builder.tensors.items()}
    return trimmed(Network(Graph(kept, outputs, tuple(nodes), shapes), builder.tensors))


def _check_output(builder: Builder, name: str, label: str) -> None:
    if name in builder.known:
        raise ModelError(f"{label}: output '{name}' does not depend on the images; remove it")
    if builder.resolve(name) not in builder.shapes:
        raise ModelError(f"{label}: output '{name}' is computed by no node; export it again")
    shapes = builder.shapes[builder.resolve(name)]
    if any(shape[:1] != (batch,) for shape, batch in zip(shapes, PROBES, strict=True)):
        raise ModelError(f"{label}: output '{name}' does not have the batch as its first axis")


def _named_output(
    builder: Builder, nodes: list[Node], name: str, outputs: tuple[str, ...]
) -> list[Node]:
    """Rename the value behind an output; where that is taken, add an Identity."""
    value = builder.resolve(name)
    if value == name:
        return nodes
    builder.aliases[name] = name
    builder.shapes[name] = builder.shapes[value]
    made = any(value in node.outputs for node in nodes)
    if made and value not in outputs:
        for other, target in builder.aliases.items():
            if target == value:
                builder.aliases[other] = name
        builder.aliases[value] = name
        return [_renamed(node, value, name) for node in nodes]
    label = unique(name, {node.name for node in nodes})
    return [*nodes, Node("Identity", label, (value,), (name,))]


def _renamed(node: Node, old: str, new: str) -> Node:
    return replace(
        node,
        inputs=tuple(new if n == old else n for n in node.inputs),
        outputs=tuple(new if n == old else n for n in node.outputs),
    )


def _channels_first(
    nodes: list[Node], inputs: Mapping[str, Shape], outputs: tuple[str, ...]
) -> tuple[list[Node], dict[str, Shape]]:
    """Let inputs that are only turned from channels-last (as TensorFlow has it) come turned."""
    result = dict(inputs)
    for name, shape in inputs.items():
        users = [node for node in nodes if name in node.inputs]
        turned = {
            node.outputs[0]
            for node in users
            if node.op == "Transpose" and node.attributes["perm"] == (0, 3, 1, 2)
        }
        if not users or len(turned) != len(users) or {name, *turned} & set(outputs):
            continue
        result[name] = (shape[2], shape[0], shape[1])
        nodes = [node for node in nodes if node not in users]
        for value in turned:
            nodes = [_renamed(node, value, name) for node in nodes]
    return nodes, result


def _with_biases(builder: Builder, nodes: list[Node], outputs: tuple[str, ...]) -> list[Node]:
    """Let an Add of one constant per channel join the layer in front of it."""
    uses = Counter(name for node in nodes for name in node.inputs)
    uses.update(outputs)
    maker: dict[str, int] = {}
    result: list[Node] = []
    for node in nodes:
        if node.op == "Add":
            for value, tensor in (node.inputs, node.inputs[::-1]):
                place = maker.get(value)
                if place is None or tensor not in builder.tensors or uses[value] != 1:
                    continue
                bias = _bias(builder, result[place], tensor, alone=uses[tensor] == 1)
                if bias:
                    layer = result[place]
                    result[place] = replace(
                        layer, inputs=(*layer.inputs[:2], bias), outputs=node.outputs
                    )
                    break
            else:
                result.append(node)
            continue
        if node.op in ("Conv", "Gemm") and len(node.inputs) == 2:
            maker[node.outputs[0]] = len(result)
        result.append(node)
    return result


def _bias(builder: Builder, layer: Node, name: str, *, alone: bool) -> str:
    """The tensor as a bias of the layer, "" if it is none; its name stays if it is used once."""
    tensor = builder.tensors[name]
    out = builder.shapes[layer.inputs[1]][0][0]
    rank = len(builder.shapes[layer.outputs[0]][0])
    shape = (out, 1, 1) if layer.op == "Conv" else (out,)
    if tensor.ndim > rank or tensor.shape not in (shape, (1,) * (rank - len(shape)) + shape):
        return ""
    if alone:
        builder.tensors[name] = tensor.reshape(out)
        return name
    return builder.tensor(tensor.reshape(out), name)
