"""How each ONNX operator that moves, drops or renames values becomes nodes of the network.

The rules follow the conventions of :mod:`reticule.graph.onnx_rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from reticule.graph.onnx_builder import Builder, Shapes
from reticule.graph.onnx_constants import PROBES, Known
from reticule.graph.onnx_file import Operation
from reticule.graph.onnx_rules import Rule
from reticule.graph.operators import Attribute, Shape, axis_of, broadcast

_WHOLE = 2**31 - 1
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Sum"}


def _rename(b: Builder, node: Operation) -> None:
    b.alias(node.outputs[0], b.operand(node, 0))


def _dropout(b: Builder, node: Operation) -> None:
    advice = "export the network in evaluation mode (model.eval())"
    training = b.array(node, 2) if node.opset >= 12 else None
    if training is not None and training.any():
        raise node.unsupported("Dropout (training)", advice)
    if any(name and b.consumers.get(name) for name in node.outputs[1:]):
        raise node.unsupported("Dropout (with its mask)", advice)
    _rename(b, node)


def _cast(b: Builder, node: Operation) -> None:
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    names = ("FLOAT", "DOUBLE", "FLOAT16")  # opset 1 to 5 wrote the name
    if node.attributes["to"] not in (*floats, *names):
        raise node.unsupported("Cast (to integers)", "remove it, or cut the network before it")
    _rename(b, node)


def _shape(b: Builder, node: Operation) -> None:
    first, last = node.attributes.get("start", 0), node.attributes.get("end")
    values = [np.array(shape[first:last], np.int64) for shape in b.full_shape(node, 0)]
    b.known[node.outputs[0]] = Known.of(node.outputs[0], *values)


def _size(b: Builder, node: Operation) -> None:
    values = [np.array(prod(shape), np.int64) for shape in b.full_shape(node, 0)]
    b.known[node.outputs[0]] = Known.of(node.outputs[0], *values)


def _reshape(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    if "shape" in node.attributes:
        wanted: Sequence[Sequence[int]] = [node.attributes["shape"]] * len(PROBES)
    elif node.input(1) in b.known:
        wanted = [tuple(int(v) for v in value) for value in b.known[node.input(1)].values]
    else:
        raise node.error("its shape is computed from the images; export with fixed shapes")
    zero_is_size = bool(node.attributes.get("allowzero", 0))
    target = tuple(
        _target(shape, sizes, batch, b.batch, zero_is_size)
        for shape, sizes, batch in zip(shapes, wanted, PROBES, strict=True)
    )
    b.reshape(node, b.operand(node, 0), target)


def _target(
    shape: Shape, wanted: Sequence[int], batch: int, exported: int | None, zero_is_size: bool
) -> Shape:
    """The shape that a Reshape gives at one batch size.

    A network exported for a fixed batch has that number written into its targets:
    a leading entry that equals it, or that no longer adds up, grows with the batch.
    """
    sizes = list(wanted)
    if not zero_is_size:
        sizes = [shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    if exported and sizes and sizes[0] > 0:
        fits = -1 in sizes or prod(sizes) == prod(shape)
        if (sizes[0] == exported and shape[0] == batch) or not fits:
            sizes[0] = sizes[0] * batch // exported
    if -1 in sizes:
        rest = -prod(sizes)
        if rest <= 0 or prod(shape) % rest:
            raise ValueError(f"cannot reshape {shape} to {tuple(wanted)}")
        sizes[sizes.index(-1)] = prod(shape) // rest
    if prod(sizes) != prod(shape):
        raise ValueError(f"cannot reshape {shape} to {tuple(wanted)}")
    return tuple(sizes)


def _flatten(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    axis = node.attributes.get("axis", 1)
    axis = axis + len(shapes[0]) if axis < 0 else axis
    if axis == 1 and len(shapes[0]) == 2:
        _rename(b, node)
    else:
        b.emit(node, "Flatten", (b.operand(node, 0),), {"axis": axis})


def _squeeze(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    axes = b.numbers(node, "axes", 1)
    rank = len(shapes[0])
    if axes is None:
        gone = {i for i in range(rank) if all(shape[i] == 1 for shape in shapes)}
    else:
        gone = {axis_of(axis, rank) for axis in axes}
    if any(shape[i] != 1 for shape in shapes for i in gone):
        raise node.error(f"cannot drop axes {sorted(gone)} of shape {shapes[0]}")
    target = tuple(tuple(s for i, s in enumerate(shape) if i not in gone) for shape in shapes)
    b.reshape(node, b.operand(node, 0), target)


def _unsqueeze(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    axes = b.numbers(node, "axes", 1) or ()
    rank = len(shapes[0]) + len(axes)
    places = {axis_of(axis, rank) for axis in axes}
    if len(places) != len(axes):
        raise node.error(f"inserts an axis twice: {axes}")
    target = []
    for shape in shapes:
        sizes = iter(shape)
        target.append(tuple(1 if i in places else next(sizes) for i in range(rank)))
    b.reshape(node, b.operand(node, 0), tuple(target))


def _transpose(b: Builder, node: Operation) -> None:
    rank = len(b.shape_of(node)[0])
    perm = tuple(node.attributes.get("perm", range(rank - 1, -1, -1)))
    if perm == tuple(range(rank)):
        _rename(b, node)
    else:
        b.emit(node, "Transpose", (b.operand(node, 0),), {"perm": perm})


def _concat(b: Builder, node: Operation) -> None:
    images = [i for i, name in enumerate(node.inputs) if name not in b.known]
    rank = len(b.shape_of(node, images[0])[0])
    axis = axis_of(node.attributes.get("axis", 1), rank)  # opset 1 had a default
    if images != list(range(images[0], images[-1] + 1)):
        raise node.unsupported("Concat (constant in the middle)", "keep constants at the ends")
    before = _filling(b, node, range(images[0]), axis)
    after = _filling(b, node, range(images[-1] + 1, len(node.inputs)), axis)
    value = b.operand(node, images[0])
    steps: list[tuple[str, tuple[str, ...], dict[str, Attribute]]] = []
    if len(images) > 1:
        steps.append(("Concat", tuple(b.operand(node, i) for i in images), {"axis": axis}))
    for place, (size, number) in ((axis, before), (rank + axis, after)):
        if size:
            pads = tuple(size if i == place else 0 for i in range(2 * rank))
            steps.append(("Pad", (), {"pads": pads, "value": number}))
    for index, (op, inputs, attributes) in enumerate(steps):
        output = node.outputs[0] if index == len(steps) - 1 else b.inner(node, "part")
        value = b.emit(node, op, inputs or (value,), attributes, output=output)
    if not steps:
        b.alias(node.outputs[0], value)


def _filling(b: Builder, node: Operation, places: range, axis: int) -> tuple[int, float]:
    """Constants at one end of a Concat, as a padding: how wide, and with which number."""
    size, numbers = 0, set()
    for index in places:
        for value in b.known[node.inputs[index]].values:
            numbers.update(np.unique(value).tolist()[:2])
        size += b.shape_of(node, index)[0][axis]
    if len(numbers) > 1:
        raise node.unsupported("Concat (with a constant)", "only equal numbers can be appended")
    return size, float(numbers.pop()) if numbers else 0.0


def _split(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    axis = axis_of(node.attributes.get("axis", 0), len(shapes[0]))
    if len({shape[axis] for shape in shapes}) > 1:
        raise node.error("splits the batch; remove it and export again")
    size, parts = shapes[0][axis], len(node.outputs)
    each = -(-size // parts)
    sizes = b.numbers(node, "split", 1) or tuple(min(each, size - i * each) for i in range(parts))
    if len(sizes) != parts or sum(sizes) != size:
        raise node.error(f"splits {size} entries into {sizes}")
    start = 0
    for name, part in zip(node.outputs, sizes, strict=True):
        if name:
            b.cut(node, b.operand(node, 0), {axis: (start, start + part, 1)}, output=name)
        start += part


def _slice(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    rank = len(shapes[0])
    if node.opset < 10:
        rows = [(node.attributes["starts"], node.attributes["ends"])] * len(PROBES)
        axes = node.attributes.get("axes")
        steps: tuple[int, ...] | None = None
    else:
        known = [b.known[node.input(i)].values for i in (1, 2)]
        rows = [(s.tolist(), e.tolist()) for s, e in zip(*known, strict=True)]
        axes, steps = b.numbers(node, "axes", 3), b.numbers(node, "steps", 4)
    axes = [axis_of(a, rank) for a in axes] if axes is not None else list(range(len(rows[0][0])))
    steps = steps or (1,) * len(axes)
    bounds = {}
    for i, axis in enumerate(axes):
        start, end = ({row[side][i] for row in rows} for side in (0, 1))
        whole = all(
            start == {0} and ends[i] >= shape[axis]
            for (_, ends), shape in zip(rows, shapes, strict=True)
        )
        if len(start) > 1 or (len(end) > 1 and not whole):
            raise node.error("takes a part of the batch; remove it and export again")
        bounds[axis] = (start.pop(), _WHOLE if whole else end.pop(), steps[i])
    b.cut(node, b.operand(node, 0), bounds)


def _gather(b: Builder, node: Operation) -> None:
    if node.input(0) in b.known:
        raise node.unsupported("Gather (by computed indices)", "use constant indices")
    shapes = b.shape_of(node)
    axis = axis_of(node.attributes.get("axis", 0), len(shapes[0]))
    indices = b.constant(node, 1)
    if len({shape[axis] for shape in shapes}) > 1:
        raise node.error("picks images out of the batch; remove it and export again")
    size = shapes[0][axis]
    picks = [int(i) + size if i < 0 else int(i) for i in indices.ravel()]
    if indices.ndim > 1 or not picks or not all(0 <= i < size for i in picks):
        raise node.unsupported("Gather (by a table)", "pick along one axis by a list of indices")
    value = b.operand(node, 0)
    if indices.ndim == 0:
        picked = b.inner(node, "picked")
        b.cut(node, value, {axis: (picks[0], picks[0] + 1, 1)}, output=picked)
        target: Shapes = tuple(shape[:axis] + shape[axis + 1 :] for shape in shapes)
        b.reshape(node, b.resolve(picked), target)
        return
    runs = _runs(picks)
    if len(runs) == 1:
        b.cut(node, value, {axis: runs[0]})
        return
    parts = []
    for run in runs:
        part = b.inner(node, "part")
        b.cut(node, value, {axis: run}, output=part)
        parts.append(b.resolve(part))
    b.emit(node, "Concat", parts, {"axis": axis})


def _runs(picks: list[int]) -> list[tuple[int, int, int]]:
    """Indices as (start, end, step) ranges.

    >>> _runs([0, 2, 4, 1, 2])
    [(0, 5, 2), (1, 3, 1)]
    """
    runs: list[list[int]] = []
    for pick in picks:
        run = runs[-1] if runs else [pick]
        step = run[1] - run[0] if len(run) > 1 else max(pick - run[0], 1)
        if runs and pick == run[-1] + step:
            run.append(pick)
        else:
            runs.append([pick])
    return [(r[0], r[-1] + 1, r[1] - r[0] if len(r) > 1 else 1) for r in runs]


def _pad(b: Builder, node: Operation) -> None:
    shapes = b.shape_of(node)
    rank = len(shapes[0])
    pads = b.numbers(node, "pads", 1)
    pads = node.attributes.get("paddings", ()) if pads is None else pads  # opset 1
    axes = b.numbers(node, "axes", 3) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise node.error(f"has {len(pads)} pads for {len(axes)} axes")
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis_of(axis, rank)] = pads[i]
        full[axis_of(axis, rank) + rank] = pads[i + len(axes)]
    if any(full[a] or full[a + rank] for a in range(rank) if shapes[0][a] != shapes[1][a]):
        raise node.error("pads the batch; remove it and export again")
    mode = node.attributes.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise node.unsupported(f"Pad ({mode})", "pad with constant, reflect or edge")
    fill = b.array(node, 2) if node.opset >= 11 else None
    value = float(node.attributes.get("value", 0.0) if fill is None else fill.reshape(-1)[0])
    if not any(full):
        _rename(b, node)
    else:
        attributes = {"pads": tuple(full), "mode": mode, "value": value}
        b.emit(node, "Pad", (b.operand(node, 0),), attributes)


def _expand(b: Builder, node: Operation) -> None:
    """Expand vanishes where every use broadcasts anyway; the uses check that it is so."""
    shapes = b.shape_of(node)
    sizes = b.known[node.input(1)].values
    target = tuple(
        broadcast(shape, _expand_size(size, b.batch, batch))
        for shape, size, batch in zip(shapes, sizes, PROBES, strict=True)
    )
    if target != shapes and not set(b.consumers.get(node.outputs[0], ("",))) <= _ELEMENTWISE:
        raise node.unsupported("Expand", "let an elementwise operator broadcast instead")
    _rename(b, node)
    if target != shapes:
        b.expanded[node.outputs[0]] = target


def _expand_size(size: np.ndarray, exported: int | None, batch: int) -> Shape:
    sizes = tuple(int(s) for s in size)
    return (batch, *sizes[1:]) if exported and exported > 1 and sizes[:1] == (exported,) else sizes


MOVING: dict[str, Rule] = {
    "Identity": _rename,
    "Dropout": _dropout,
    "Cast": _cast,
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
}
"""The rules of this module, by operator."""
