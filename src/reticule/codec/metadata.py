"""The metadata of a file: topology, names and description as deflated compact JSON.

Nothing in here is needed to rebuild a weight; docs/format.md lists the fields.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reticule.codec.about import About, Checked, about_from_json
from reticule.codec.limits import Limits, size_within
from reticule.errors import Fault, FormatError, ModelError
from reticule.forms.base import Shape
from reticule.graph import Graph, Node
from reticule.graph.operators import OPERATORS, Parameter
from reticule.graph.shapes import Attribute

_FIELDS = ("inputs", "outputs", "nodes", "tensors", "about")
_NEEDED = ("inputs", "outputs", "nodes")
DICTIONARY = (
    b'"std":[1.0,1.0,1.0]"std":[0.229,0.224,0.225]}"mean":[0.485,0.456,0.406],'
    b'"trellis""states":8"images":512"quality":"scope":"global","score":"lamp",'
    b'"init":"linear"}"bits":8"linear_bits":4"conv_bits":4,"share":0.5}{"method":"half-precision"},'
    b'{"method":"match-moments"},{"method":"retrain","training":{"learning_rate":0.0003}'
    b'{"method":"gradual-pruning","density":"auto",{"method":"weight-sharing",'
    b'"recipe":{"name":"deep-compression","recipe":{"name":"post-training",'
    b'"stages":[{"method":"fold-batch-norm"},{"method":"'
    b'"labels":["0","1","2","3","4","5","6","7","8","9"],"seed":1,"bytes_original":'
    b'"accuracy":{"before":9,"after":9,"measured_on":"test"}}}"measured_on":"val"}}}'
    b'["Concat",["AveragePool",["Softmax",["Clip",{"min":0.0,"max":6.0}],["BatchNormalization",'
    b'["MaxPool",{"kernel_shape":[3,3],"strides":[2,2],"pads":[1,1,1,1]}],["Reshape",'
    b'{"kernel_shape":[2,2],"strides":[2,2]}],["Flatten","flatten",[1]],["GlobalAveragePool",'
    b'["Gemm","node_linear",[1,"fc.weight","fc.bias"],["Gemm","classifier.weight","linear.bias"],'
    b'{"group":32,"pads":[1,1,1,1],"strides":[2,2]}],["Conv","downsample.0.weight",'
    b'["Conv","node_conv2d","features.0.weight","features.0.bias"],{"dilations":[2,2]'
    b'["Relu","node_relu_1",[1]],["Conv","node_Conv_1",[1,"layer1.0.conv1.weight",'
    b'"layer1.0.conv1.weight_bias"],{"pads":[1,1,1,1]}],["Relu","node_relu_2",[1]],'
    b'["Conv","node_Conv_2",[1,"layer1.0.conv2.weight","layer1.0.conv2.weight_bias"],'
    b'{"pads":[1,1,1,1]}],["Add","node_add_1",[1,3]],["Relu","node_relu_3",[1]],'
    b'{"inputs":{"input":[1,28,28]},"outputs":["logits"],"nodes":[["Conv","conv1",["input",'
    b'{"inputs":{"input":[3,32,32]},"outputs":["output"],"nodes":[["Conv","conv1",'
    b'["input","conv1.weight","conv1.bias"]],"about":{"preprocessing":{"scale":255.0,"mean":[0.0],'
    b'"std":[1.0]}},{"inputs":{"input":[3,224,224]},"outputs":["logits"],"nodes":[["Conv","'
)
"""What metadata of networks often says: deflate may refer to it as if it stood before."""

_INFINITE = {"inf": float("inf"), "-inf": float("-inf")}
_MOST_INPUTS = 1024  # of a node
_MOST_INTEGERS = 64  # of an attribute


@dataclass(frozen=True)
class Metadata:
    """A graph whose tensors' shapes are still to be read, and the description."""

    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: tuple[str, ...]
    about: About

    @classmethod
    def of(cls, graph: Graph, about: About) -> Metadata:
        """The metadata of a graph."""
        return cls(graph.inputs, graph.outputs, graph.nodes, tuple(graph.tensors), about)

    def graph(self, shapes: list[Shape], where: str) -> Graph:
        """The graph with its tensors' shapes, in the order of their names, and checked."""
        graph = Graph(
            self.inputs, self.outputs, self.nodes, dict(zip(self.tensors, shapes, strict=True))
        )
        try:
            return graph.check()
        except (ModelError, OverflowError) as problem:  # overflow: absurd attributes
            raise FormatError(Fault.GRAPH, where, str(problem)) from None


# Writing --------------------------------------------------------------------------------------


def write_metadata(metadata: Metadata) -> tuple[bytes, int]:
    """Deflated JSON and its inflated length; ModelError for what is not plain data."""
    maker = {node.outputs[0]: index for index, node in enumerate(metadata.nodes)}
    plain: dict[str, object] = {
        "inputs": {name: list(shape) for name, shape in metadata.inputs.items()},
        "outputs": list(metadata.outputs),
        "nodes": [_node_to_json(node, i, maker) for i, node in enumerate(metadata.nodes)],
    }
    if metadata.tensors != _first_uses(metadata.nodes, metadata.inputs):
        plain["tensors"] = list(metadata.tensors)
    if about := metadata.about.to_json():
        plain["about"] = about
    try:
        text = _compact(plain).encode()
    except (TypeError, ValueError) as problem:
        raise ModelError(
            f"the description of the network is not plain finite JSON data: {problem}"
        ) from None
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    return deflate.compress(text) + deflate.flush(), len(text)


def _compact(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _node_to_json(node: Node, index: int, maker: Mapping[str, int]) -> list[object]:
    """Operator, name and inputs; the output if it is not called as the node; attributes.

    An input that a node before makes is the number of steps back to it.
    """
    inputs = [index - maker[name] if name in maker else name for name in node.inputs]
    plain: list[object] = [node.op, node.name, inputs]
    if node.outputs[0] != node.name:
        plain.append(node.outputs[0])
    parameters = OPERATORS[node.op].parameters
    attributes = {}
    for name, value in node.attributes.items():
        default = _attribute_to_json(parameters[name], parameters[name].default)
        given = _attribute_to_json(parameters[name], value)
        if repr(given) != repr(default):  # as text: -0.0 is not 0.0
            attributes[name] = given
    return [*plain, attributes] if attributes else plain


def _first_uses(nodes: Sequence[Node], inputs: Mapping[str, Shape]) -> tuple[str, ...]:
    """Names that nodes use and nothing computes, in the order of their first use."""
    made = {"", *inputs, *(node.outputs[0] for node in nodes)}
    return tuple(dict.fromkeys(n for node in nodes for n in node.inputs if n not in made))


def _attribute_to_json(parameter: Parameter, value: Attribute | None) -> object:
    if parameter.kind == "float" and value is not None:
        number = float(value)  # type: ignore[arg-type]
        return str(number) if number in _INFINITE.values() else number
    return list(value) if isinstance(value, tuple) else value


# Reading --------------------------------------------------------------------------------------


def read_metadata(deflated: bytes, inflated: int, where: str, limits: Limits) -> Metadata:
    """Inverse of :func:`write_metadata`; the inflated length has been checked."""
    checked = Checked(where, limits)
    plain = checked.mapping(_parse(deflated, inflated, checked), "metadata", _FIELDS)
    if missing := [name for name in _NEEDED if name not in plain]:
        raise checked.fail(f"'{missing[0]}' is missing")
    inputs = {
        name: _shape(shape, checked)
        for name, shape in checked.mapping(plain["inputs"], "inputs").items()
    }
    nodes: list[Node] = []
    for node in checked.sequence(plain["nodes"], "nodes", limits.nodes):
        nodes.append(_node_from_json(node, nodes, checked))
    tensors = _first_uses(nodes, inputs)
    if "tensors" in plain:
        tensors = checked.texts(plain["tensors"], "tensors", limits.tensors)
    if len(tensors) > limits.tensors:
        raise FormatError(Fault.TOO_LARGE, where, f"{len(tensors)} tensors")
    if len(set(tensors)) != len(tensors) or "" in tensors:
        raise FormatError(Fault.GRAPH, where, "tensors without names of their own")
    return Metadata(
        inputs=inputs,
        outputs=checked.texts(plain["outputs"], "outputs", limits.nodes),
        nodes=tuple(nodes),
        tensors=tensors,
        about=about_from_json(plain.get("about", {}), checked),
    )


def _parse(deflated: bytes, inflated: int, checked: Checked) -> object:
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
    try:
        text = inflate.decompress(deflated, inflated + 1)
    except zlib.error as problem:
        raise checked.fail(str(problem)) from None
    if len(text) != inflated or not inflate.eof or inflate.unused_data:
        raise checked.fail("it does not inflate to the declared length")
    if sum(text.count(mark) for mark in (b"[", b"{", b",")) > checked.limits.metadata_items:
        raise FormatError(Fault.TOO_LARGE, checked.where, "too many items of metadata")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise checked.fail("a name occurs twice in one object")
        return found

    def constant(name: str) -> object:
        raise checked.fail(f"{name} is not JSON")

    try:
        return json.loads(text.decode(), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as problem:
        raise checked.fail(str(problem)) from None


def _shape(value: object, checked: Checked) -> Shape:
    axes = checked.sequence(value, "a shape", checked.limits.rank)
    shape = tuple(checked.whole(axis, "an axis", 0) for axis in axes)
    size_within(shape, checked.limits, checked.where)
    return shape


def _node_from_json(value: object, before: Sequence[Node], checked: Checked) -> Node:
    parts = checked.sequence(value, "a node", 5)
    if len(parts) < 3:
        raise checked.fail("a node lacks its inputs")
    op, name = (checked.text(part, "a node") for part in parts[:2])
    if op not in OPERATORS:
        raise FormatError(Fault.GRAPH, checked.where, f"node '{name}': unknown operator '{op}'")
    inputs = tuple(
        _input(given, name, before, checked)
        for given in checked.sequence(parts[2], f"inputs of node '{name}'", _MOST_INPUTS)
    )
    rest = parts[3:]
    output = name
    if rest and not isinstance(rest[0], dict):
        output = checked.text(rest.pop(0), f"the output of node '{name}'")
    attributes: dict[str, Attribute] = {}
    if rest:
        given = checked.mapping(rest.pop(0), f"attributes of node '{name}'")
        for key, plain in given.items():
            parameter = OPERATORS[op].parameters.get(key)
            if parameter is None:
                raise checked.fail(f"node '{name}' has an unknown attribute '{key}'")
            what = f"attribute '{key}' of node '{name}'"
            attributes[key] = _attribute_from_json(parameter, plain, what, checked)
    if rest:
        raise checked.fail(f"node '{name}' has parts left over")
    return Node(op, name, inputs, (output,), attributes)


def _input(given: object, name: str, before: Sequence[Node], checked: Checked) -> str:
    """A name, or steps back to the node that makes the input."""
    what = f"an input of node '{name}'"
    if isinstance(given, str):
        return checked.text(given, what)
    steps = checked.whole(given, what, 1)
    if steps > len(before):
        raise FormatError(Fault.GRAPH, checked.where, f"{what} lies {steps} nodes back")
    return before[-steps].outputs[0]


def _attribute_from_json(
    parameter: Parameter, plain: object, what: str, checked: Checked
) -> Attribute:
    if parameter.kind == "float":
        if isinstance(plain, str) and plain in _INFINITE:
            return _INFINITE[plain]
        if not isinstance(plain, float) or plain in _INFINITE.values():
            raise checked.fail(f"{what} is no finite number")
        return plain
    if parameter.kind == "ints":
        items = checked.sequence(plain, what, _MOST_INTEGERS)
        return tuple(checked.whole(item, what) for item in items)
    if parameter.kind == "int":
        return checked.whole(plain, what)
    return checked.text(plain, what)
