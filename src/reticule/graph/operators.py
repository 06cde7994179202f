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
from math import ceil, prod
from typing import Any

Shape = tuple[int, ...]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]
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


# Shape rules.  Each takes the input shapes and all attributes, and raises
# ValueError with a phrase that can follow the node's name.


def _same(ins, attributes):
    return [ins[0]]


def broadcast(*shapes: Shape) -> Shape:
    """The common shape under numpy's rules; ValueError if there is none."""
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    out = []
    for sizes in zip(*padded, strict=True):
        wide = {s for s in sizes if s != 1}
        if len(wide) > 1:
            raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


def _broadcast(ins, attributes):
    return [broadcast(*ins)]


def _image(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"needs an image batch (N, C, H, W), got shape {shape}")
    return shape


def window(
    size: int,
    kernel: int,
    stride: int,
    before: int,
    after: int,
    dilation: int,
    ceil_mode: bool = False,
) -> int:
    """Number of positions of a sliding window along one axis."""
    span = size + before + after - dilation * (kernel - 1) - 1
    if span < 0:
        raise ValueError(f"a window of {dilation * (kernel - 1) + 1} does not fit into {size}")
    count = (ceil(span / stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1  # the last window would start in the padding
    return count


def _conv(ins, a):
    n, c, h, w = _image(ins[0])
    out, per_group, kh, kw = ins[1]
    if per_group * a["group"] != c or out % a["group"]:
        raise ValueError(
            f"weight {ins[1]} with {a['group']} groups does not fit {c} input channels"
        )
    if len(ins) > 2 and ins[2] is not None and ins[2] != (out,):
        raise ValueError(f"bias {ins[2]} does not fit {out} output channels")
    top, left, bottom, right = a["pads"]
    return [
        (
            n,
            out,
            window(h, kh, a["strides"][0], top, bottom, a["dilations"][0]),
            window(w, kw, a["strides"][1], left, right, a["dilations"][1]),
        )
    ]


def _pool(ins, a):
    n, c, h, w = _image(ins[0])
    (kh, kw), (sh, sw), (top, left, bottom, right) = a["kernel_shape"], a["strides"], a["pads"]
    dh, dw = a.get("dilations", (1, 1))
    if max(top, bottom) >= kh * dh or max(left, right) >= kw * dw:
        raise ValueError("padding is as wide as the window")
    up = bool(a["ceil_mode"])
    return [(n, c, window(h, kh, sh, top, bottom, dh, up), window(w, kw, sw, left, right, dw, up))]


def _gemm(ins, attributes):
    x, weight = ins[0], ins[1]
    if len(weight) != 2 or len(x) < 2 or x[-1] != weight[1]:
        raise ValueError(f"input {x} does not fit weight {weight}")
    if len(ins) > 2 and ins[2] is not None and ins[2] != (weight[0],):
        raise ValueError(f"bias {ins[2]} does not fit {weight[0]} outputs")
    return [(*x[:-1], weight[0])]


def _matmul(ins, attributes):
    a, b = ins
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError(f"shapes {a} and {b} do not multiply")
    return [(*broadcast(a[:-2], b[:-2]), a[-2], b[-1])]


def _batch_norm(ins, attributes):
    if any(s != (ins[0][1],) for s in ins[1:]):
        raise ValueError(f"statistics {ins[1:]} do not fit {ins[0][1]} channels")
    return [ins[0]]


def _prelu(ins, attributes):
    if broadcast(ins[0], ins[1]) != ins[0]:
        raise ValueError(f"slope {ins[1]} does not broadcast to {ins[0]}")
    return [ins[0]]


def _global_pool(ins, attributes):
    n, c, _, _ = _image(ins[0])
    return [(n, c, 1, 1)]


def axis_of(axis: int, rank: int) -> int:
    """A non-negative axis; ValueError if the rank has no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} does not exist in rank {rank}")
    return axis % rank


def _reduce(ins, a):
    rank = len(ins[0])
    axes = {axis_of(x, rank) for x in a["axes"]} or set(range(rank))
    if a["keepdims"]:
        return [tuple(1 if i in axes else s for i, s in enumerate(ins[0]))]
    return [tuple(s for i, s in enumerate(ins[0]) if i not in axes)]


def _softmax(ins, a):
    axis_of(a["axis"], len(ins[0]))
    return [ins[0]]


def _lrn(ins, attributes):
    if len(ins[0]) < 2:
        raise ValueError(f"needs a channel axis, got shape {ins[0]}")
    return [ins[0]]


def _concat(ins, a):
    axis = axis_of(a["axis"], len(ins[0]))
    for shape in ins:
        if len(shape) != len(ins[0]) or any(
            s != t for i, (s, t) in enumerate(zip(shape, ins[0], strict=True)) if i != axis
        ):
            raise ValueError(f"cannot concatenate {shape} to {ins[0]} along axis {axis}")
    out = list(ins[0])
    out[axis] = sum(shape[axis] for shape in ins)
    return [tuple(out)]


def _pad(ins, a):
    rank, pads = len(ins[0]), a["pads"]
    if len(pads) != 2 * rank:
        raise ValueError(f"{len(pads)} pads for rank {rank}")
    if a["mode"] not in ("constant", "reflect", "edge"):
        raise ValueError(f"unknown mode '{a['mode']}'")
    out = tuple(s + pads[i] + pads[rank + i] for i, s in enumerate(ins[0]))
    if a["mode"] == "reflect" and any(
        max(pads[i], pads[rank + i]) >= max(s, 1) for i, s in enumerate(ins[0])
    ):
        raise ValueError("reflection is wider than the image")
    if any(s < 0 for s in out):
        raise ValueError("crops more than there is")
    return [out]


def slices(shape: Shape, a: Mapping[str, Any]) -> tuple[slice, ...]:
    """The Python slices that a Slice node takes of its input."""
    starts, ends, axes, steps = a["starts"], a["ends"], a["axes"], a["steps"]
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError("starts, ends, axes and steps differ in length")
    out = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ValueError("steps must be positive")
        out[axis_of(axis, len(shape))] = slice(start, end, step)
    return tuple(out)


def _slice(ins, a):
    return [
        tuple(
            len(range(*s.indices(size))) for s, size in zip(slices(ins[0], a), ins[0], strict=True)
        )
    ]


def reshaped(shape: Shape, target: Sequence[int]) -> Shape:
    """The result of a Reshape: 0 copies the dimension, one -1 is inferred."""
    if any(t == 0 and i >= len(shape) for i, t in enumerate(target)):
        raise ValueError(f"cannot copy a dimension of {shape} into {tuple(target)}")
    out = [shape[i] if t == 0 else t for i, t in enumerate(target)]
    if out.count(-1) > 1 or any(t < -1 for t in out):
        raise ValueError(f"impossible target shape {tuple(target)}")
    if -1 in out:
        rest = -prod(out)
        out[out.index(-1)] = prod(shape) // rest if rest else 0
    if prod(out) != prod(shape):
        raise ValueError(f"cannot reshape {shape} to {tuple(target)}")
    return tuple(out)


def _reshape(ins, a):
    return [reshaped(ins[0], a["shape"])]


def _flatten(ins, a):
    axis = a["axis"] % len(ins[0]) if a["axis"] < 0 else a["axis"]
    if axis > len(ins[0]):
        raise ValueError(f"axis {axis} does not exist in rank {len(ins[0])}")
    return [(prod(ins[0][:axis]), prod(ins[0][axis:]))]


def _transpose(ins, a):
    if sorted(a["perm"]) != list(range(len(ins[0]))):
        raise ValueError(f"perm {a['perm']} is no permutation of rank {len(ins[0])}")
    return [tuple(ins[0][p] for p in a["perm"])]


_STRIDES = Parameter("ints", (1, 1), least=1, length=2)
_PADS = Parameter("ints", (0, 0, 0, 0), least=0, length=4)
_KERNEL = Parameter("ints", None, least=1, length=2)
_FLAG = Parameter("int", 0)

OPERATORS: dict[str, Operator] = {
    "Conv": Operator(
        _conv,
        (2, 3),
        {
            "strides": _STRIDES,
            "pads": _PADS,
            "dilations": _STRIDES,
            "group": Parameter("int", 1, least=1),
        },
    ),
    "Gemm": Operator(_gemm, (2, 3)),
    "MatMul": Operator(_matmul, (2, 2)),
    "BatchNormalization": Operator(_batch_norm, (5, 5), {"epsilon": Parameter("float", 1e-5)}),
    "Relu": Operator(_same, (1, 1)),
    "LeakyRelu": Operator(_same, (1, 1), {"alpha": Parameter("float", 0.01)}),
    "PRelu": Operator(_prelu, (2, 2)),
    "Elu": Operator(_same, (1, 1), {"alpha": Parameter("float", 1.0)}),
    "Clip": Operator(
        _same,
        (1, 1),
        {
            "min": Parameter("float", float("-inf")),
            "max": Parameter("float", float("inf")),
        },
    ),
    "Sigmoid": Operator(_same, (1, 1)),
    "Tanh": Operator(_same, (1, 1)),
    "HardSigmoid": Operator(
        _same,
        (1, 1),
        {
            "alpha": Parameter("float", 0.2),
            "beta": Parameter("float", 0.5),
        },
    ),
    "HardSwish": Operator(_same, (1, 1)),
    "Softmax": Operator(_softmax, (1, 1), {"axis": Parameter("int", -1)}),
    "LogSoftmax": Operator(_softmax, (1, 1), {"axis": Parameter("int", -1)}),
    "MaxPool": Operator(
        _pool,
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
        _pool,
        (1, 1),
        {
            "kernel_shape": _KERNEL,
            "strides": _STRIDES,
            "pads": _PADS,
            "ceil_mode": _FLAG,
            "count_include_pad": _FLAG,
        },
    ),
    "GlobalAveragePool": Operator(_global_pool, (1, 1)),
    "GlobalMaxPool": Operator(_global_pool, (1, 1)),
    "ReduceMean": Operator(
        _reduce,
        (1, 1),
        {
            "axes": Parameter("ints", ()),
            "keepdims": Parameter("int", 1),
        },
    ),
    "Add": Operator(_broadcast, (2, 2)),
    "Sub": Operator(_broadcast, (2, 2)),
    "Mul": Operator(_broadcast, (2, 2)),
    "Div": Operator(_broadcast, (2, 2)),
    "Concat": Operator(_concat, (1, 1024), {"axis": Parameter("int")}),
    "Pad": Operator(
        _pad,
        (1, 1),
        {
            "pads": Parameter("ints"),
            "mode": Parameter("str", "constant"),
            "value": Parameter("float", 0.0),
        },
    ),
    "Slice": Operator(
        _slice,
        (1, 1),
        {
            "starts": Parameter("ints"),
            "ends": Parameter("ints"),
            "axes": Parameter("ints"),
            "steps": Parameter("ints"),
        },
    ),
    "Reshape": Operator(_reshape, (1, 1), {"shape": Parameter("ints", least=-1)}),
    "Flatten": Operator(_flatten, (1, 1), {"axis": Parameter("int", 1)}),
    "Transpose": Operator(_transpose, (1, 1), {"perm": Parameter("ints", least=0)}),
    "LRN": Operator(
        _lrn,
        (1, 1),
        {
            "size": Parameter("int", None, least=1),
            "alpha": Parameter("float", 1e-4),
            "beta": Parameter("float", 0.75),
            "bias": Parameter("float", 1.0),
        },
    ),
    "Identity": Operator(_same, (1, 1)),
}
