"""The operators of the network: arity, attributes and shape inference, one entry each.

Names and meaning are ONNX's (opset 13 and later), narrowed where ONNX allows
more than convolutional networks use:

* ``Conv`` and the pools are two-dimensional, images are (N, C, H, W), ``pads`` are
  (top, left, bottom, right);
* ``Gemm`` is ``x @ weight.T + bias`` with weight (out, in) and x of rank >= 2;
* shapes, axes, limits and pads are attributes, never inputs;
* a ``Reshape`` entry of 0 copies the input's dimension, -1 is inferred.

To add an operator, add an entry here, in ``tuning/executor.py`` and in
``engine/kernels/``; the gallery test names the one that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reticule.graph import shapes
from reticule.graph.shapes import Attribute, Shape

Infer = Callable[[Sequence[Shape | None], Mapping[str, Attribute]], list[Shape]]


@dataclass(frozen=True)
class Parameter:
    """An attribute of an operator: its kind, and its default (None: must be given)."""

    kind: str  # "int", "float", "str", "ints"
    default: Attribute | None = None
    least: int | None = None
    length: int | None = None

    def problem(self, value: Attribute) -> str:
        """What is wrong with a value, or the empty string."""
        if self.kind == "ints":
            if not isinstance(value, tuple) or not all(_is_int(v) for v in value):
                return "must be a list of integers"
            if self.length is not None and len(value) != self.length:
                return f"must have {self.length} entries"
            if len(value) > 64 or any(abs(v) > 2**31 for v in value):
                return "is out of range"
            if self.least is not None and any(v < self.least for v in value):
                return f"must be at least {self.least}"
            return ""
        if self.kind == "str":
            return "" if isinstance(value, str) else "must be a string"
        if self.kind == "int":
            if not _is_int(value) or abs(value) > 2**31:  # type: ignore[arg-type]
                return "must be an integer"
            if self.least is not None and value < self.least:  # type: ignore[operator]
                return f"must be at least {self.least}"
            return ""
        return "" if isinstance(value, float) or _is_int(value) else "must be a number"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Operator:
    """What the graph must know about an operator."""

    infer: Infer
    arity: tuple[int, int]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def defaults(self) -> dict[str, Attribute]:
        return {n: p.default for n, p in self.parameters.items() if p.default is not None}

    def problem(self, attributes: Mapping[str, Attribute]) -> str:
        """What is wrong with a node's attributes, or the empty string."""
        for name, value in attributes.items():
            if name not in self.parameters:
                return f"unknown attribute '{name}'"
            if problem := self.parameters[name].problem(value):
                return f"attribute '{name}' {problem}"
        for name, parameter in self.parameters.items():
            if parameter.default is None and name not in attributes:
                return f"attribute '{name}' is missing"
        return ""


_STRIDES = Parameter("ints", (1, 1), least=1, length=2)
_PADS = Parameter("ints", (0, 0, 0, 0), least=0, length=4)
_KERNEL = Parameter("ints", None, least=1, length=2)
_FLAG = Parameter("int", 0)

OPERATORS: dict[str, Operator] = {
    "Conv": Operator(
        shapes.conv_shape,
        (2, 3),
        {
            "strides": _STRIDES,
            "pads": _PADS,
            "dilations": _STRIDES,
            "group": Parameter("int", 1, least=1),
        },
    ),
    "Gemm": Operator(shapes.gemm_shape, (2, 3)),
    "MatMul": Operator(shapes.matmul_shape, (2, 2)),
    "BatchNormalization": Operator(
        shapes.batch_norm_shape, (5, 5), {"epsilon": Parameter("float", 1e-5)}
    ),
    "Relu": Operator(shapes.same_shape, (1, 1)),
    "LeakyRelu": Operator(shapes.same_shape, (1, 1), {"alpha": Parameter("float", 0.01)}),
    "PRelu": Operator(shapes.prelu_shape, (2, 2)),
    "Elu": Operator(shapes.same_shape, (1, 1), {"alpha": Parameter("float", 1.0)}),
    "Clip": Operator(
        shapes.same_shape,
        (1, 1),
        {
            "min": Parameter("float", float("-inf")),
            "max": Parameter("float", float("inf")),
        },
    ),
    "Sign": Operator(shapes.same_shape, (1, 1)),
    "Sigmoid": Operator(shapes.same_shape, (1, 1)),
    "Tanh": Operator(shapes.same_shape, (1, 1)),
    "HardSigmoid": Operator(
        shapes.same_shape,
        (1, 1),
        {
            "alpha": Parameter("float", 0.2),
            "beta": Parameter("float", 0.5),
        },
    ),
    "HardSwish": Operator(shapes.same_shape, (1, 1)),
    "Softmax": Operator(shapes.softmax_shape, (1, 1), {"axis": Parameter("int", -1)}),
    "LogSoftmax": Operator(shapes.softmax_shape, (1, 1), {"axis": Parameter("int", -1)}),
    "MaxPool": Operator(
        shapes.pool_shape,
        (1, 1),
        {
            "kernel_shape": _KERNEL,
            "strides": _STRIDES,
            "pads": _PADS,
            "dilations": _STRIDES,
            "ceil_mode": _FLAG,
        },
    ),
    "AveragePool": Operator(
        shapes.pool_shape,
        (1, 1),
        {
            "kernel_shape": _KERNEL,
            "strides": _STRIDES,
            "pads": _PADS,
            "ceil_mode": _FLAG,
            "count_include_pad": _FLAG,
        },
    ),
    "GlobalAveragePool": Operator(shapes.global_pool_shape, (1, 1)),
    "GlobalMaxPool": Operator(shapes.global_pool_shape, (1, 1)),
    "ReduceMean": Operator(
        shapes.reduce_shape,
        (1, 1),
        {
            "axes": Parameter("ints", ()),
            "keepdims": Parameter("int", 1),
        },
    ),
    "Add": Operator(shapes.broadcast_shape, (2, 2)),
    "Sub": Operator(shapes.broadcast_shape, (2, 2)),
    "Mul": Operator(shapes.broadcast_shape, (2, 2)),
    "Div": Operator(shapes.broadcast_shape, (2, 2)),
    "Concat": Operator(shapes.concat_shape, (1, 1024), {"axis": Parameter("int")}),
    "Pad": Operator(
        shapes.pad_shape,
        (1, 1),
        {
            "pads": Parameter("ints"),
            "mode": Parameter("str", "constant"),
            "value": Parameter("float", 0.0),
        },
    ),
    "Slice": Operator(
        shapes.slice_shape,
        (1, 1),
        {
            "starts": Parameter("ints"),
            "ends": Parameter("ints"),
            "axes": Parameter("ints"),
            "steps": Parameter("ints"),
        },
    ),
    "Reshape": Operator(shapes.reshape_shape, (1, 1), {"shape": Parameter("ints", least=-1)}),
    "Flatten": Operator(shapes.flatten_shape, (1, 1), {"axis": Parameter("int", 1)}),
    "Transpose": Operator(shapes.transpose_shape, (1, 1), {"perm": Parameter("ints", least=0)}),
    "LRN": Operator(
        shapes.lrn_shape,
        (1, 1),
        {
            "size": Parameter("int", None, least=1),
            "alpha": Parameter("float", 1e-4),
            "beta": Parameter("float", 0.75),
            "bias": Parameter("float", 1.0),
        },
    ),
    "Identity": Operator(shapes.same_shape, (1, 1)),
}
