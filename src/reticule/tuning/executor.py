"""Run a network in PyTorch, differentiably with respect to its weights.

>>> import torch
>>> from reticule.graph import Graph, Node
>>> graph = Graph({"x": (2,)}, ("y",), (Node("Relu", "relu", ("x",), ("y",)),), {})
>>> execute(graph, {}, torch.tensor([[-1.0, 3.0]]))[0].tolist()
[[0.0, 3.0]]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reticule.errors import ModelError
from reticule.graph import Graph
from reticule.graph.shapes import axis_of, slices

Attributes = Mapping[str, Any]


def execute(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    *inputs: Tensor,
    watch: frozenset[str] = frozenset(),
) -> tuple[Tensor, ...]:
    """Outputs of the network, in order, followed by the watched values in graph order.

    ``tensors`` holds every weight tensor by name, ``inputs`` the batches in the
    order of ``graph.inputs``.
    """
    if len(inputs) != len(graph.inputs):
        raise ModelError(f"the network takes {len(graph.inputs)} inputs, got {len(inputs)}")
    values: dict[str, Tensor] = {**tensors, **dict(zip(graph.inputs, inputs, strict=True))}
    watched = []
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    for i, node in enumerate(graph.nodes):
        ins = [values[name] if name else None for name in node.inputs]
        values[node.outputs[0]] = EXECUTORS[node.op](ins, node.settings)
        if node.outputs[0] in watch:
            watched.append(values[node.outputs[0]])
        for name in set(node.inputs):
            if name and last_use[name] == i and name not in graph.outputs:
                del values[name]  # activations of large networks do not fit all at once
    return (*(values[name] for name in graph.outputs), *watched)


def _padded(x: Tensor, pads: tuple[int, ...], value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """Split (top, left, bottom, right) into a symmetric part and an explicit padding."""
    top, left, bottom, right = pads
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(ins: list, a: Attributes) -> Tensor:
    x, padding = _padded(ins[0], a["pads"])
    bias = ins[2] if len(ins) > 2 else None
    return F.conv2d(x, ins[1], bias, a["strides"], padding, a["dilations"], a["group"])


def _gemm(ins: list, a: Attributes) -> Tensor:
    return F.linear(ins[0], ins[1], ins[2] if len(ins) > 2 else None)


def _batch_norm(ins: list, a: Attributes) -> Tensor:
    x, scale, bias, mean, var = ins
    # Statistics are no weights: PyTorch cannot, and training must not, change them.
    return F.batch_norm(x, mean.detach(), var.detach(), scale, bias, eps=a["epsilon"])


def _extra(x: Tensor, a: Attributes) -> tuple[int, int]:
    """Rows and columns by which ceil_mode reaches behind the padded image."""
    top, left, bottom, right = a["pads"]
    extra = []
    for axis, pads in ((0, (top, bottom)), (1, (left, right))):
        size = x.shape[2 + axis] + sum(pads)
        kernel = a.get("dilations", (1, 1))[axis] * (a["kernel_shape"][axis] - 1) + 1
        stride = a["strides"][axis]
        over = -(size - kernel) % stride if a["ceil_mode"] else 0
        starts_inside = size - kernel + over < x.shape[2 + axis] + pads[0]
        extra.append(over if starts_inside else 0)
    return extra[0], extra[1]


def _max_pool(ins: list, a: Attributes) -> Tensor:
    x = ins[0]
    top, left, bottom, right = a["pads"]
    down, along = _extra(x, a)
    x = F.pad(x, (left, right + along, top, bottom + down), value=float("-inf"))
    return F.max_pool2d(x, a["kernel_shape"], a["strides"], 0, a["dilations"])


def _average_pool(ins: list, a: Attributes) -> Tensor:
    x = ins[0]
    top, left, bottom, right = a["pads"]
    down, along = _extra(x, a)
    ones = torch.ones_like(x[:1, :1])
    inner = (left, right, top, bottom)
    outer = (0, along, 0, down)
    weight = F.pad(ones, inner, value=1.0 if a["count_include_pad"] else 0.0)
    x, weight = F.pad(F.pad(x, inner), outer), F.pad(weight, outer)
    kernel, strides = a["kernel_shape"], a["strides"]
    return F.avg_pool2d(x, kernel, strides) / F.avg_pool2d(weight, kernel, strides)


def _pad(ins: list, a: Attributes) -> Tensor:
    rank, pads = ins[0].ndim, a["pads"]
    flat = [p for i in reversed(range(rank)) for p in (pads[i], pads[rank + i])]
    if a["mode"] == "constant":
        return F.pad(ins[0], flat, value=a["value"])
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    if len(flat) > 2 * (rank - 2) or rank > 4:
        raise ModelError(f"padding '{a['mode']}' is possible on image axes only")
    return F.pad(ins[0], flat, mode="reflect" if a["mode"] == "reflect" else "replicate")


def _reduce_mean(ins: list, a: Attributes) -> Tensor:
    axes = tuple(a["axes"]) or tuple(range(ins[0].ndim))
    return ins[0].mean(axes, keepdim=bool(a["keepdims"]))


def _flatten(ins: list, a: Attributes) -> Tensor:
    axis = a["axis"] % ins[0].ndim if a["axis"] < 0 else a["axis"]
    return ins[0].reshape(ins[0].shape[:axis].numel(), -1)


def _reshape(ins: list, a: Attributes) -> Tensor:
    x = ins[0]
    return x.reshape([x.shape[i] if t == 0 else t for i, t in enumerate(a["shape"])])


def _lrn(ins: list, a: Attributes) -> Tensor:
    # F.local_response_norm centres even windows elsewhere than ONNX does.
    x, size = ins[0], a["size"]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = F.pad(x.square().unsqueeze(1), (0, 0, 0, 0, before, after))
    mean = F.avg_pool3d(squares, (size, 1, 1), 1).squeeze(1)
    return x / (a["bias"] + a["alpha"] * mean) ** a["beta"]


class _Sign(torch.autograd.Function):
    """The sign; straight through for gradients, where the input is within [-1, 1].

    Hubara et al., "Binarized Neural Networks", NIPS 2016, section 1.3.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


def _concat(ins: list, a: Attributes) -> Tensor:
    return torch.cat(ins, axis_of(a["axis"], ins[0].ndim))


EXECUTORS: dict[str, Callable[[list, Attributes], Tensor]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda ins, a: ins[0] @ ins[1],
    "BatchNormalization": _batch_norm,
    "Relu": lambda ins, a: F.relu(ins[0]),
    "LeakyRelu": lambda ins, a: F.leaky_relu(ins[0], a["alpha"]),
    "PRelu": lambda ins, a: torch.where(ins[0] < 0, ins[0] * ins[1], ins[0]),
    "Elu": lambda ins, a: F.elu(ins[0], a["alpha"]),
    "Clip": lambda ins, a: ins[0].clamp(a["min"], a["max"]),
    "Sign": lambda ins, a: _Sign.apply(ins[0]),
    "Sigmoid": lambda ins, a: torch.sigmoid(ins[0]),
    "Tanh": lambda ins, a: torch.tanh(ins[0]),
    "HardSigmoid": lambda ins, a: (ins[0] * a["alpha"] + a["beta"]).clamp(0, 1),
    "HardSwish": lambda ins, a: F.hardswish(ins[0]),
    "Softmax": lambda ins, a: F.softmax(ins[0], a["axis"]),
    "LogSoftmax": lambda ins, a: F.log_softmax(ins[0], a["axis"]),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda ins, a: ins[0].mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda ins, a: ins[0].amax((2, 3), keepdim=True),
    "ReduceMean": _reduce_mean,
    "Add": lambda ins, a: ins[0] + ins[1],
    "Sub": lambda ins, a: ins[0] - ins[1],
    "Mul": lambda ins, a: ins[0] * ins[1],
    "Div": lambda ins, a: ins[0] / ins[1],
    "Concat": _concat,
    "Pad": _pad,
    "Slice": lambda ins, a: ins[0][slices(tuple(ins[0].shape), a)],
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": lambda ins, a: ins[0].permute(a["perm"]),
    "LRN": _lrn,
    "Identity": lambda ins, a: ins[0],
}
