"""Shape inference: one rule per family of operators, and the arithmetic behind them.

A rule takes the input shapes (None for an absent input) and all attributes of a
node, and returns the output shapes.  It raises ValueError with a phrase that can
follow the node's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Any

Shape = tuple[int, ...]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]
Inputs = Sequence[Any]
Attributes = Mapping[str, Any]


def same_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
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


def broadcast_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
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


def conv_shape(ins: Inputs, a: Attributes) -> list[Shape]:
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


def pool_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    n, c, h, w = _image(ins[0])
    (kh, kw), (sh, sw), (top, left, bottom, right) = a["kernel_shape"], a["strides"], a["pads"]
    dh, dw = a.get("dilations", (1, 1))
    if max(top, bottom) >= kh * dh or max(left, right) >= kw * dw:
        raise ValueError("padding is as wide as the window")
    up = bool(a["ceil_mode"])
    return [(n, c, window(h, kh, sh, top, bottom, dh, up), window(w, kw, sw, left, right, dw, up))]


def gemm_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
    x, weight = ins[0], ins[1]
    if len(weight) != 2 or len(x) < 2 or x[-1] != weight[1]:
        raise ValueError(f"input {x} does not fit weight {weight}")
    if len(ins) > 2 and ins[2] is not None and ins[2] != (weight[0],):
        raise ValueError(f"bias {ins[2]} does not fit {weight[0]} outputs")
    return [(*x[:-1], weight[0])]


def matmul_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
    a, b = ins
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError(f"shapes {a} and {b} do not multiply")
    return [(*broadcast(a[:-2], b[:-2]), a[-2], b[-1])]


def batch_norm_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
    if any(s != (ins[0][1],) for s in ins[1:]):
        raise ValueError(f"statistics {ins[1:]} do not fit {ins[0][1]} channels")
    return [ins[0]]


def prelu_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
    if broadcast(ins[0], ins[1]) != ins[0]:
        raise ValueError(f"slope {ins[1]} does not broadcast to {ins[0]}")
    return [ins[0]]


def global_pool_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
    n, c, _, _ = _image(ins[0])
    return [(n, c, 1, 1)]


def axis_of(axis: int, rank: int) -> int:
    """A non-negative axis; ValueError if the rank has no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} does not exist in rank {rank}")
    return axis % rank


def reduce_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    rank = len(ins[0])
    axes = {axis_of(x, rank) for x in a["axes"]} or set(range(rank))
    if a["keepdims"]:
        return [tuple(1 if i in axes else s for i, s in enumerate(ins[0]))]
    return [tuple(s for i, s in enumerate(ins[0]) if i not in axes)]


def softmax_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    axis_of(a["axis"], len(ins[0]))
    return [ins[0]]


def lrn_shape(ins: Inputs, attributes: Attributes) -> list[Shape]:
    if len(ins[0]) < 2:
        raise ValueError(f"needs a channel axis, got shape {ins[0]}")
    return [ins[0]]


def concat_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    axis = axis_of(a["axis"], len(ins[0]))
    for shape in ins:
        if len(shape) != len(ins[0]) or any(
            s != t for i, (s, t) in enumerate(zip(shape, ins[0], strict=True)) if i != axis
        ):
            raise ValueError(f"cannot concatenate {shape} to {ins[0]} along axis {axis}")
    out = list(ins[0])
    out[axis] = sum(shape[axis] for shape in ins)
    return [tuple(out)]


def pad_shape(ins: Inputs, a: Attributes) -> list[Shape]:
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


def slice_shape(ins: Inputs, a: Attributes) -> list[Shape]:
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


def reshape_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    return [reshaped(ins[0], a["shape"])]


def flatten_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    axis = a["axis"] % len(ins[0]) if a["axis"] < 0 else a["axis"]
    if axis > len(ins[0]):
        raise ValueError(f"axis {axis} does not exist in rank {len(ins[0])}")
    return [(prod(ins[0][:axis]), prod(ins[0][axis:]))]


def transpose_shape(ins: Inputs, a: Attributes) -> list[Shape]:
    if sorted(a["perm"]) != list(range(len(ins[0]))):
        raise ValueError(f"perm {a['perm']} is no permutation of rank {len(ins[0])}")
    return [tuple(ins[0][p] for p in a["perm"])]
