"""How ONNX operators that join, part and pad values become nodes of the network.

The rules follow the conventions of :mod:`reticule.graph.onnx_in.rules`.
"""

from __future__ import annotations

import numpy as np

from reticule.graph.onnx_in.builder import LIMIT, Builder, Rule, Shapes
from reticule.graph.onnx_in.constants import PROBES
from reticule.graph.onnx_in.file import Operation
from reticule.graph.shapes import Attribute, axis_of


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
        bounds[axis] = (start.pop(), LIMIT if whole else end.pop(), steps[i])
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
        b.alias(node.outputs[0], b.operand(node, 0))
    else:
        attributes = {"pads": tuple(full), "mode": mode, "value": value}
        b.emit(node, "Pad", (b.operand(node, 0),), attributes)


SELECTING: dict[str, Rule] = {
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
}
"""The rules of this module, by operator."""
