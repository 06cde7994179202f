"""The metadata of a file: topology, names and description as deflated compact JSON.

Nothing in here is needed to rebuild a weight; docs/format.md lists the fields.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from reticule.codec.about import About, Checked, about_from_json
from reticule.codec.limits import Limits, size_within
from reticule.errors import Fault, FormatError, ModelError
from reticule.forms.base import Shape
from reticule.graph import Graph, Node
from reticule.graph.operators import OPERATORS, Parameter
from reticule.graph.shapes import Attribute

_FIELDS = ("inputs", "outputs", "nodes", "tensors", "about")
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
    plain = {
        "inputs": {name: list(shape) for name, shape in metadata.inputs.items()},
        "outputs": list(metadata.outputs),
        "nodes": [_node_to_json(node) for node in metadata.nodes],
        "tensors": list(metadata.tensors),
        "about": metadata.about.to_json(),
    }
    try:
        text = _compact(plain).encode()
    except (TypeError, ValueError) as problem:
        raise ModelError(
            f"the description of the network is not plain finite JSON data: {problem}"
        ) from None
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return deflate.compress(text) + deflate.flush(), len(text)


def _compact(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _node_to_json(node: Node) -> list[object]:
    plain: list[object] = [node.op, node.name, list(node.inputs), node.outputs[0]]
    parameters = OPERATORS[node.op].parameters
    attributes = {}
    for name, value in node.attributes.items():
        default = _attribute_to_json(parameters[name], parameters[name].default)
        given = _attribute_to_json(parameters[name], value)
        if repr(given) != repr(default):  # as text: -0.0 is not 0.0
            attributes[name] = given
    return [*plain, attributes] if attributes else plain


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
    if missing := [name for name in _FIELDS if name not in plain]:
        raise checked.fail(f"'{missing[0]}' is missing")
    nodes = checked.sequence(plain["nodes"], "nodes", limits.nodes)
    tensors = checked.texts(plain["tensors"], "tensors", limits.tensors)
    if len(set(tensors)) != len(tensors) or "" in tensors:
        raise FormatError(Fault.GRAPH, where, "tensors without names of their own")
    return Metadata(
        inputs={
            name: _shape(shape, checked)
            for name, shape in checked.mapping(plain["inputs"], "inputs").items()
        },
        outputs=checked.texts(plain["outputs"], "outputs", limits.nodes),
        nodes=tuple(_node_from_json(node, checked) for node in nodes),
        tensors=tensors,
        about=about_from_json(plain["about"], checked),
    )


def _parse(deflated: bytes, inflated: int, checked: Checked) -> object:
    inflate = zlib.decompressobj(-15)
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


def _node_from_json(value: object, checked: Checked) -> Node:
    parts = checked.sequence(value, "a node", 5)
    if len(parts) < 4:
        raise checked.fail("a node lacks its inputs or its output")
    op, name, output = (checked.text(parts[i], "a node") for i in (0, 1, 3))
    inputs = checked.texts(parts[2], f"inputs of node '{name}'", _MOST_INPUTS)
    if op not in OPERATORS:
        raise FormatError(Fault.GRAPH, checked.where, f"node '{name}': unknown operator '{op}'")
    attributes: dict[str, Attribute] = {}
    if len(parts) == 5:
        given = checked.mapping(parts[4], f"attributes of node '{name}'")
        for key, plain in given.items():
            parameter = OPERATORS[op].parameters.get(key)
            if parameter is None:
                raise checked.fail(f"node '{name}' has an unknown attribute '{key}'")
            what = f"attribute '{key}' of node '{name}'"
            attributes[key] = _attribute_from_json(parameter, plain, what, checked)
    return Node(op, name, inputs, (output,), attributes)


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
