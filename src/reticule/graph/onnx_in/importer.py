"""ONNX in: any convolutional network that the usual exporters write becomes a network.

The nodes of the file are visited once, in order.  Whatever is known without an image
(constants, and sizes computed from shapes) is computed on the spot; the rest becomes
nodes of the network by one rule per operator.  Afterwards a separate bias joins its
layer, and what nothing uses is dropped.  The batch becomes free, also where the file
was exported for a fixed one.

>>> from onnx import TensorProto, helper
>>> info = helper.make_tensor_value_info
>>> graph = helper.make_graph(
...     [helper.make_node("Relu", ["x"], ["y"])], "g",
...     [info("x", TensorProto.FLOAT, [1, 3, 8, 8])], [info("y", TensorProto.FLOAT, None)],
... )
>>> from_onnx(helper.make_model(graph)).graph.nodes
(Node(op='Relu', name='y', inputs=('x',), outputs=('y',), attributes={}),)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reticule.errors import ModelError, UnsupportedOperator
from reticule.graph.network import Network
from reticule.graph.onnx_in.builder import Builder, Rule
from reticule.graph.onnx_in.constants import FOLDABLE, PROBES, Known, computed, constant
from reticule.graph.onnx_in.file import (
    Operation,
    array_of,
    operation,
    read_model,
    standard_opset,
)
from reticule.graph.onnx_in.finish import finish
from reticule.graph.onnx_in.layout import MOVING
from reticule.graph.onnx_in.rules import COMPUTING
from reticule.graph.shapes import Shape

if TYPE_CHECKING:
    import onnx

RULES = {**COMPUTING, **MOVING}
"""Every ONNX operator that can be read, with the rule that reads it."""

_ADVICE = "replace or remove it and export the network again"


def from_onnx(
    source: str | Path | bytes | onnx.ModelProto, input_shape: tuple[int, ...] | None = None
) -> Network:
    """Read a network from an ONNX file, its bytes, or a loaded model.

    ``input_shape`` is the shape of one image (channels, height, width), needed only where the
    file leaves it open.  Names of values and tensors are kept; metadata is not.  Images come
    channels first: an input that the file only transposes to that (as TensorFlow's do) takes
    them so from the start.  Raises ModelError naming the file, node or tensor, and
    UnsupportedOperator naming node and operator.
    """
    model, label = read_model(source)
    opset = standard_opset(model, label)
    graph = model.graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(f"{label}: tensor '{name}' is stored sparsely; export it dense")
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in stored]
    sizes = {entry.name: _sizes(entry, label) for entry in inputs}
    shapes = {name: _image_shape(name, size, input_shape, label) for name, size in sizes.items()}
    builder = Builder(
        batch=next((size[0] for size in sizes.values() if size and size[0]), None),
        taken=_names(graph),
        consumers=_consumers(graph),
    )
    for name, shape in shapes.items():
        builder.shapes[name] = tuple((batch, *shape) for batch in PROBES)
    _convert_all(builder, graph, opset, label)
    return finish(builder, shapes, [entry.name for entry in graph.output], label).check()


def _sizes(entry: onnx.ValueInfoProto, label: str) -> tuple[int | None, ...] | None:
    """The declared sizes of an input, None where one is open; None if there is no shape."""
    if not entry.type.HasField("tensor_type"):
        raise ModelError(f"{label}: input '{entry.name}' is no tensor; export a plain network")
    if not entry.type.tensor_type.HasField("shape"):
        return None
    dims = entry.type.tensor_type.shape.dim
    if not dims:
        raise ModelError(f"{label}: input '{entry.name}' is a single number, not a batch of images")
    return tuple(d.dim_value if d.dim_value > 0 else None for d in dims)


def _image_shape(
    name: str, sizes: tuple[int | None, ...] | None, given: tuple[int, ...] | None, label: str
) -> Shape:
    """The shape of one image: what the file says, completed by what the user says."""
    own = sizes[1:] if sizes is not None else None
    if own is not None and None not in own:
        if given is not None and len(own) == len(given) == 3 and not _fits(own, given):
            raise ModelError(f"{label}: input '{name}' is fixed to {own}, not {tuple(given)}")
        return tuple(size for size in own if size is not None)
    if given is None:
        shown = "unknown" if own is None else tuple("?" if s is None else s for s in own)
        raise ModelError(
            f"{label}: the shape of input '{name}' is open ({shown}); pass --input-shape C,H,W"
        )
    if own is None or _fits(own, given):
        return tuple(given)
    if len(given) == 3 and _fits(own, (*given[1:], given[0])):  # channels last, as TensorFlow
        return (*given[1:], given[0])
    shown = tuple("?" if s is None else s for s in own)
    raise ModelError(f"{label}: input '{name}' has shape {shown}, not {tuple(given)}")


def _fits(own: tuple[int | None, ...], given: tuple[int, ...]) -> bool:
    return len(own) == len(given) and all(o in (None, g) for o, g in zip(own, given, strict=True))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the graphs in its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _names(graph: onnx.GraphProto) -> set[str]:
    names: set[str] = set()
    for part in _graphs(graph):
        names.update(entry.name for entry in part.input)
        names.update(tensor.name for tensor in part.initializer)
        names.update(name for node in part.node for name in node.output)
    return names


def _consumers(graph: onnx.GraphProto) -> dict[str, list[str]]:
    """The operators that use each value; being an output counts as a use."""
    uses = defaultdict(list)
    for part in _graphs(graph):
        for node in part.node:
            for name in node.input:
                uses[name].append(node.op_type)
        for entry in part.output:
            uses[entry.name].append("output")
    return uses


def _convert_all(builder: Builder, graph: onnx.GraphProto, opset: int, label: str) -> None:
    for tensor in graph.initializer:
        builder.known[tensor.name] = Known.of(tensor.name, array_of(tensor, label))
    nodes = [operation(node, i, opset, label) for i, node in enumerate(graph.node)]
    for index, node in enumerate(nodes):
        if not node.outputs or not node.outputs[0]:
            raise node.error("has no output; export it again")
        for name in node.inputs:
            if name and not builder.has(name):
                raise node.error(f"input '{name}' is computed by no earlier node; sort the file")
        inputs = [builder.known.get(name) for name in node.inputs if name]
        all_known = bool(inputs) and all(known is not None for known in inputs)
        if node.op == "Constant":
            _apply(builder, node, _constant)
        elif all_known and (node.op in FOLDABLE or node.op in RULES):
            values = [builder.known.get(name) for name in node.inputs]
            builder.known.update(zip(node.outputs, computed(node, values), strict=True))
        elif node.op == "If" and all_known:
            _inline_branch(builder, node, label)
        elif node.op in RULES:
            _apply(builder, node, RULES[node.op])
        else:
            raise _unknown(nodes[index:])
    builder.known.pop("", None)


def _constant(builder: Builder, node: Operation) -> None:
    builder.known[node.outputs[0]] = Known.of(node.outputs[0], constant(node))


def _apply(builder: Builder, node: Operation, rule: Rule) -> None:
    """Apply the rule of one operator; what it trips over becomes an error naming the node."""
    try:
        rule(builder, node)
    except IndexError:
        raise node.error("has too few inputs or outputs; export it again") from None
    except KeyError as missing:
        raise node.error(f"{missing} is missing, or is not constant; export it again") from None
    except (ValueError, TypeError, ZeroDivisionError) as problem:
        raise node.error(str(problem) or "is malformed; export it again") from None


def _inline_branch(builder: Builder, node: Operation, label: str) -> None:
    """Replace an If whose condition is known by its branch."""
    condition = builder.constant(node, 0)
    branch = node.attributes.get("then_branch" if np.all(condition) else "else_branch")
    if branch is None or len(branch.output) != len(node.outputs):
        raise node.error("has no fitting branch; export it again")
    _convert_all(builder, branch, node.opset, label)
    for name, inner in zip(node.outputs, branch.output, strict=True):
        builder.alias(name, inner.name)


def _unknown(rest: list[Operation]) -> UnsupportedOperator:
    """The error for the first of ``rest``, which says how many other operators are unknown."""
    first = rest[0]
    quantised = "uant" in first.op or "Integer" in first.op or "QLinear" in first.op
    advice = "export the float model, before quantisation" if quantised else _ADVICE
    known = {*RULES, *FOLDABLE, "If", first.op}
    others = sorted({node.op for node in rest if node.op not in known})
    if others:
        advice += f" ({len(others)} more are unknown: {', '.join(others[:5])})"
    return first.unsupported(first.op, advice)
