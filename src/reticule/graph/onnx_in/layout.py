"""How each ONNX operator that moves, drops or renames values becomes nodes of the network.

The rules follow the conventions of :mod:`reticule.graph.onnx_in.rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from reticule.graph.onnx_in.builder import Builder, Rule
from reticule.graph.onnx_in.constants import PROBES, Known
from reticule.graph.onnx_in.file import Operation
from reticule.graph.onnx_in.select import SELECTING
from reticule.graph.shapes import Shape, axis_of, broadcast

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


def _cast_like(b: Builder, node: Operation) -> None:
    """All images are float32 here: what is cast like one becomes float32, or is it already."""
    name, output = node.input(0), node.outputs[0]
    if name in b.known:
        values = (value.astype(np.float32) for value in b.known[name].values)
        b.known[output] = Known.of(b.known[name].origin, *values)
    else:
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
    varying = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]
    before = prod(shapes[0][: varying[0]]) if varying else 1
    target = tuple(
        _target(shape, sizes, before, batch, b.batch, zero_is_size)
        for shape, sizes, batch in zip(shapes, wanted, PROBES, strict=True)
    )
    b.reshape(node, b.operand(node, 0), target)


def _target(
    shape: Shape,
    wanted: Sequence[int],
    before: int,
    batch: int,
    exported: int | None,
    zero_is_size: bool,
) -> Shape:
    """The shape that a Reshape gives at one batch size.

    A network exported for a fixed batch has that number written into its targets.  A
    leading entry that equals it becomes the batch; where the sizes do not add up, the entry
    grows that lies where the batch lies in the input, behind ``before`` elements.
    """
    sizes = list(wanted)
    if not zero_is_size:
        sizes = [shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    if exported and sizes[:1] == [exported] and shape[0] == batch:
        sizes[0] = batch
    elif -1 not in sizes and prod(sizes) != prod(shape):
        place = next((i for i in range(len(sizes)) if prod(sizes[:i]) == before), 0)
        sizes[place : place + 1] = [size * batch // (exported or 1) for size in sizes[place:][:1]]
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
    **SELECTING,
    "Identity": _rename,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
}
"""The rules of this module and of :mod:`reticule.graph.onnx_in.select`, by operator."""
