"""ONNX out: a network as a file that ONNX Runtime and other tools run.

The batch is free (named ``N``), inputs, outputs and weights keep their names, and
nothing of the machine that wrote the file is in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reticule.errors import MissingExtra, ModelError
from reticule.files import write_whole
from reticule.graph.network import Network, Node
from reticule.graph.operators import OPERATORS
from reticule.graph.shapes import Shape

if TYPE_CHECKING:
    import onnx

OPSETS = range(14, 22)
"""Versions of the ONNX operator set that can be written."""

_LARGEST = 2**31 - 2**20  # protobuf's limit for one file, with room for the graph


def to_onnx(
    network: Network, path: str | Path, *, opset: int = 17, labels: Sequence[str] = ()
) -> None:
    """Write a network as an ONNX file; the file appears whole or not at all.

    ``labels`` (names of the classes) are kept as a JSON list in the metadata entry ``labels``.
    Raises ModelError naming the file where it cannot be written, MissingExtra without ``onnx``.
    """
    size = sum(tensor.nbytes for tensor in network.tensors.values())
    if size > _LARGEST:
        raise ModelError(
            f"{path}: {size / 2**30:.1f} GiB of weights do not fit into one ONNX file "
            "(2 GiB at most); export to safetensors instead"
        )
    write_whole(path, to_model(network, opset=opset, labels=labels).SerializeToString())


def to_model(network: Network, *, opset: int = 17, labels: Sequence[str] = ()) -> onnx.ModelProto:
    """The network as a checked ONNX model in memory."""
    try:
        from onnx import checker, helper, numpy_helper
    except ImportError:
        raise MissingExtra("writing ONNX files", "onnx", "onnx") from None
    if opset not in OPSETS:
        raise ModelError(
            f"operator set {opset} cannot be written; choose {OPSETS[0]} to {OPSETS[-1]}"
        )
    writer = _Writer.of(network, opset)
    for node in network.graph.nodes:
        _EXPORTERS.get(node.op, _plain)(writer, node)
    tensors = {name: np.asarray(t, dtype="<f4") for name, t in network.tensors.items()}
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [_value_info(name, ("N", *shape)) for name, shape in network.graph.inputs.items()],
        [_value_info(name, sizes) for name, sizes in _output_sizes(network).items()],
        [numpy_helper.from_array(t, n) for n, t in {**tensors, **writer.constants}.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="reticule",
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8 if opset < 19 else 10,
    )
    if labels:
        helper.set_model_props(model, {"labels": json.dumps(list(labels))})
    try:
        checker.check_model(model)
    except checker.ValidationError as problem:
        line = str(problem).splitlines()[0]
        raise ModelError(f"the network cannot be written as ONNX: {line}") from None
    return model


def _value_info(name: str, sizes: Sequence[int | str]) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(sizes))


def _output_sizes(network: Network) -> dict[str, list[int | str]]:
    """Sizes of each output; those that follow the batch are named."""
    small, large = network.graph.shapes(2), network.graph.shapes(3)
    sizes: dict[str, list[int | str]] = {}
    for name in network.graph.outputs:
        pairs = zip(small[name], large[name], strict=True)
        sizes[name] = [a if a == b else "N" if a == 2 else f"{name}_{a}N" for a, b in pairs]
    return sizes


@dataclass
class _Writer:
    """ONNX nodes and the constants that they need beside the weights."""

    opset: int
    shapes: dict[str, Shape]
    taken: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network, opset: int) -> _Writer:
        shapes = network.graph.shapes()
        return cls(opset, shapes, set(shapes))

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def constant(self, node: Node, role: str, values: Any, dtype: str = "<i8") -> str:
        """An initializer that holds what the network keeps as an attribute."""
        name = self.fresh(f"{node.outputs[0]}/{role}")
        self.constants[name] = np.array(values, dtype=dtype)
        return name

    def add(
        self, op: str, name: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))


def _plain(w: _Writer, node: Node) -> None:
    """Operators whose attributes are ONNX's."""
    attributes = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in node.settings.items()
        if OPERATORS[node.op].parameters[key].kind != "float" or np.isfinite(value)
    }
    for key, parameter in OPERATORS[node.op].parameters.items():
        if parameter.kind == "float" and key in attributes:
            attributes[key] = float(attributes[key])  # type: ignore[arg-type]
    w.add(node.op, node.name, node.inputs, node.outputs, **attributes)


def _gemm(w: _Writer, node: Node) -> None:
    """Gemm is for matrices only; inputs of higher rank take a MatMul and an Add."""
    if len(w.shapes[node.inputs[0]]) == 2:
        w.add("Gemm", node.name, node.inputs, node.outputs, transB=1)
        return
    weight = w.fresh(f"{node.outputs[0]}/weight")
    w.add("Transpose", f"{node.name}/transpose", [node.inputs[1]], [weight], perm=[1, 0])
    if len(node.inputs) < 3 or not node.inputs[2]:
        w.add("MatMul", node.name, [node.inputs[0], weight], node.outputs)
        return
    product = w.fresh(f"{node.outputs[0]}/product")
    w.add("MatMul", node.name, [node.inputs[0], weight], [product])
    w.add("Add", f"{node.name}/bias", [product, node.inputs[2]], node.outputs)


def _clip(w: _Writer, node: Node) -> None:
    limits = [
        w.constant(node, key, value, "<f4") if np.isfinite(value) else ""
        for key in ("min", "max")
        for value in [node.settings[key]]
    ]
    while limits and not limits[-1]:
        limits.pop()
    w.add("Clip", node.name, [node.inputs[0], *limits], node.outputs)


def _reduce_mean(w: _Writer, node: Node) -> None:
    axes, keep = node.settings["axes"], node.settings["keepdims"]
    axes = axes or tuple(range(len(w.shapes[node.inputs[0]])))
    if w.opset < 18:
        w.add(node.op, node.name, node.inputs, node.outputs, axes=axes, keepdims=keep)
    else:
        inputs = [node.inputs[0], w.constant(node, "axes", axes)]
        w.add(node.op, node.name, inputs, node.outputs, keepdims=keep)


def _pad(w: _Writer, node: Node) -> None:
    inputs = [node.inputs[0], w.constant(node, "pads", node.settings["pads"])]
    if node.settings["mode"] == "constant":
        inputs.append(w.constant(node, "value", node.settings["value"], "<f4"))
    w.add(node.op, node.name, inputs, node.outputs, mode=node.settings["mode"])


def _slice(w: _Writer, node: Node) -> None:
    keys = ("starts", "ends", "axes", "steps")
    inputs = [node.inputs[0], *(w.constant(node, key, node.settings[key]) for key in keys)]
    w.add(node.op, node.name, inputs, node.outputs)


def _reshape(w: _Writer, node: Node) -> None:
    inputs = [node.inputs[0], w.constant(node, "shape", node.settings["shape"])]
    w.add(node.op, node.name, inputs, node.outputs)


_EXPORTERS: dict[str, Callable[[_Writer, Node], None]] = {
    "Gemm": _gemm,
    "Clip": _clip,
    "ReduceMean": _reduce_mean,
    "Pad": _pad,
    "Slice": _slice,
    "Reshape": _reshape,
}
"""Operators that ONNX writes differently; all others are written as they are."""
