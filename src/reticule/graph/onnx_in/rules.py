"""How each ONNX operator that computes becomes nodes of the network.

A rule takes the builder and the operation, and emits nodes.  It may raise
ValueError, IndexError, KeyError or TypeError where the operation is malformed: the
importer turns these into one line that names the node.  Operators that only move
values are in :mod:`reticule.graph.onnx_in.layout` and :mod:`reticule.graph.onnx_in.select`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from reticule.graph.onnx_in.builder import Builder, Rule
from reticule.graph.onnx_in.file import Operation
from reticule.graph.onnx_in.lrn import normalisation
from reticule.graph.onnx_in.windows import WINDOWS
from reticule.graph.shapes import Attribute, axis_of

_PLAIN = {
    "Relu": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "Sign": (),
    "Sigmoid": (),
    "Tanh": (),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "LRN": ("size", "alpha", "beta", "bias"),
}
"""Operators of one input that mean the same in every version; the attributes they keep."""

_EVALUATION = "export the network in evaluation mode (model.eval())"


def _plain(b: Builder, node: Operation) -> None:
    kept = {k: node.attributes[k] for k in _PLAIN[node.op] if k in node.attributes}
    b.emit(node, node.op, (b.operand(node, 0),), kept)


def _reduce(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    rank = len(shapes[0])
    axes = b.numbers(node, "axes", 1) or ()
    keep = int(node.attributes.get("keepdims", 1))
    if not axes and node.attributes.get("noop_with_empty_axes", 0):
        b.alias(node.outputs[0], b.operand(node, 0))
        return
    axes = tuple(sorted({axis_of(a, rank) for a in axes})) or tuple(range(rank))
    if any(len({shape[a] for shape in shapes}) > 1 for a in axes):
        raise node.error("reduces over the batch; remove it and export again")
    if node.op == "ReduceMean":
        b.emit(node, "ReduceMean", (b.operand(node, 0),), {"axes": axes, "keepdims": keep})
    elif axes == (2, 3) and rank == 4:
        if keep:
            b.emit(node, "GlobalMaxPool", (b.operand(node, 0),))
            return
        pooled = b.inner(node, "pooled")
        b.emit(node, "GlobalMaxPool", (b.operand(node, 0),), output=pooled)
        b.reshape(node, pooled, tuple(shape[:2] for shape in shapes))
    else:
        raise node.unsupported(f"ReduceMax over axes {axes}", "use global max pooling")


def _gemm(b: Builder, node: Operation) -> None:
    if node.attributes.get("transA", 0):
        raise node.unsupported("Gemm (transA=1)", "transpose the activations outside of Gemm")
    weight = b.constant(node, 1)
    weight = (weight if node.attributes.get("transB", 0) else weight.T).astype(np.float32)
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    inputs = [b.operand(node, 0), _linear_weight(b, node, 1, weight * np.float32(alpha))]
    if node.input(2) and beta:
        bias = b.constant(node, 2)
        if bias.size not in (1, weight.shape[0]):
            raise node.unsupported("Gemm (bias per image)", "use one bias per output")
        bias = np.broadcast_to(bias.reshape(-1).astype("f4") * np.float32(beta), weight.shape[:1])
        inputs.append(_linear_weight(b, node, 2, bias))
    b.emit(node, "Gemm", inputs)


def _linear_weight(b: Builder, node: Operation, index: int, values: np.ndarray) -> str:
    """Keep a rearranged constant under the name that it came with."""
    return b.tensor(values, b.known[node.input(index)].origin)


def _matmul(b: Builder, node: Operation) -> None:
    weight = b.array(node, 1) if node.input(1) in b.known else None
    if weight is not None and weight.ndim == 2 and len(b.shape_of(node)[0]) >= 2:
        b.emit(node, "Gemm", (b.operand(node, 0), _linear_weight(b, node, 1, weight.T)))
    else:
        b.emit(node, "MatMul", (b.operand(node, 0), b.operand(node, 1)))


def _batch_norm(b: Builder, node: Operation) -> None:
    if node.attributes.get("training_mode", 0) or any(node.outputs[1:]):
        raise node.unsupported("BatchNormalization (training)", _EVALUATION)
    for index in range(1, 5):
        b.constant(node, index)
    epsilon = {"epsilon": node.attributes.get("epsilon", 1e-5)}
    b.emit(node, "BatchNormalization", [b.operand(node, i) for i in range(5)], epsilon)


def _prelu(b: Builder, node: Operation) -> None:
    slope = b.constant(node, 1)
    if node.opset < 7 and slope.size > 1:  # one slope per channel, not aligned to the right
        slope = slope.reshape(-1, *(1,) * (len(b.shape_of(node)[0]) - 2))
    b.emit(node, "PRelu", (b.operand(node, 0), _linear_weight(b, node, 1, slope)))


def _clip(b: Builder, node: Operation) -> None:
    limits = {}
    for index, name in ((1, "min"), (2, "max")):
        array = b.array(node, index) if node.opset >= 11 else None
        value = node.attributes.get(name) if array is None else float(array.reshape(-1)[0])
        if value is not None:
            limits[name] = float(value)
    _emit_clip(b, node, b.operand(node, 0), limits)


def _emit_clip(b: Builder, node: Operation, value: str, limits: Mapping[str, float]) -> None:
    """A Clip, or a Relu where only negative values are cut; limits that cut nothing vanish."""
    largest = float(np.finfo(np.float32).max)
    real: dict[str, Attribute] = {k: v for k, v in limits.items() if abs(v) < largest}
    if real == {"min": 0.0}:
        b.emit(node, "Relu", (value,))
    else:
        b.emit(node, "Clip", (value,), real)


def _extreme(b: Builder, node: Operation) -> None:
    """Min and Max with one number: a limit."""
    images = [i for i, name in enumerate(node.inputs) if name not in b.known]
    limits = [b.array(node, i) for i in range(len(node.inputs)) if i not in images]
    values = {float(v) for limit in limits if limit is not None for v in limit.ravel()}
    plain = len(images) == len(values) == 1
    if not plain or b.full_broadcast(node) != b.shape_of(node, images[0]):
        raise node.unsupported(f"{node.op} (of several values)", "only a constant limit is known")
    limit = "min" if node.op == "Max" else "max"
    _emit_clip(b, node, b.operand(node, images[0]), {limit: values.pop()})


def _softmax(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    rank = len(shapes[0])
    axis = axis_of(node.attributes.get("axis", -1 if node.opset >= 13 else 1), rank)
    value = b.operand(node, 0)
    if node.opset >= 13 or all(size == 1 for size in shapes[0][axis + 1 :]):
        b.emit(node, node.op, (value,), {"axis": axis})
        return
    # before opset 13 all axes from this one on were taken together
    flat, done = b.inner(node, "flat"), b.inner(node, "done")
    together = tuple((*shape[:axis], prod(shape[axis:])) for shape in shapes)
    b.reshape(node, value, together, output=flat)
    b.emit(node, node.op, (b.resolve(flat),), {"axis": axis}, output=done)
    b.reshape(node, done, shapes)


def _elementwise(b: Builder, node: Operation) -> None:
    if node.input(1) in b.divisors:
        image, attributes = b.divisors[node.input(1)]
        if node.input(0) in b.known or b.operand(node, 0) != image:
            raise node.unsupported("Pow", "only squares and local response normalisation are known")
        b.emit(node, "LRN", (image,), attributes)
        return
    names = [_elementwise_operand(b, node, index) for index in range(2)]
    b.emit(node, node.op, names)
    _same_as_expanded(b, node)


def _elementwise_operand(b: Builder, node: Operation, index: int) -> str:
    name = node.input(index)
    if name not in b.known:
        return b.operand(node, index)
    if not b.known[name].fixed:  # sizes follow the batch: only one number repeated can be kept
        numbers = {float(v) for value in b.known[name].values for v in value.ravel()}
        if len(numbers) == 1:
            return b.tensor(np.array(numbers.pop()), b.known[name].origin)
    array = b.constant(node, index)
    if node.opset < 7 and "axis" in node.attributes and index == 1:
        rank = len(b.shape_of(node)[0])  # old broadcasting: aligned at an axis, not to the right
        axis = axis_of(node.attributes["axis"], rank)
        array = array.reshape(*array.shape, *(1,) * (rank - axis - array.ndim))
    return _linear_weight(b, node, index, array)


def _same_as_expanded(b: Builder, node: Operation) -> None:
    """Check that a vanished Expand would have changed nothing here."""
    if node.opset < 7 and node.attributes.get("broadcast"):
        return
    if b.shapes[node.outputs[0]] != b.full_broadcast(node):
        raise node.unsupported("Expand", "let the elementwise operator broadcast instead")


def _sum(b: Builder, node: Operation) -> None:
    total = b.operand(node, 0)
    if len(node.inputs) == 1:
        b.alias(node.outputs[0], total)
    for index in range(1, len(node.inputs)):
        last = index == len(node.inputs) - 1
        output = node.outputs[0] if last else b.inner(node, "sum")
        total = b.emit(node, "Add", (total, b.operand(node, index)), output=output)
    if len(node.inputs) > 1:
        _same_as_expanded(b, node)


def _swish(b: Builder, node: Operation) -> None:
    value, gate = b.operand(node, 0), b.inner(node, "gate")
    if node.attributes.get("alpha", 1.0) != 1.0:
        raise node.unsupported("Swish (alpha not 1)", "export x * sigmoid(alpha * x) instead")
    b.emit(node, "Sigmoid", (value,), output=gate)
    b.emit(node, "Mul", (value, gate))


def _pow(b: Builder, node: Operation) -> None:
    """Squares, and the power inside a local response normalisation written out."""
    exponent = b.constant(node, 1)
    value = b.operand(node, 0)
    found = normalisation(b.nodes, b.tensors, b.shapes, value)
    if exponent.size == 1 and exponent.item() == 2:
        b.emit(node, "Mul", (value, value))
    elif exponent.size == 1 and found and b.consumers.get(node.outputs[0]) == ["Div"]:
        image, attributes = found
        b.divisors[node.outputs[0]] = (image, {**attributes, "beta": float(exponent.item())})
    else:
        raise node.unsupported("Pow", "only squares and local response normalisation are known")


COMPUTING: dict[str, Rule] = {
    **dict.fromkeys(_PLAIN, _plain),
    **WINDOWS,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "PRelu": _prelu,
    "Clip": _clip,
    "Min": _extreme,
    "Max": _extreme,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _elementwise),
    "Sum": _sum,
    "Swish": _swish,
    "Pow": _pow,
}
"""The rules of this module and of :mod:`reticule.graph.onnx_in.windows`, by operator."""
