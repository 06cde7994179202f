"""How sliding windows of ONNX become nodes of the network: convolutions and pools.

The rules follow the conventions of :mod:`reticule.graph.onnx_in.rules`.
"""

from __future__ import annotations

from math import prod

from reticule.graph.onnx_in.builder import Builder, Rule
from reticule.graph.onnx_in.file import Operation
from reticule.graph.shapes import Attribute

FLAT = "only two-dimensional images are supported; use the 2-D layer with a height of 1"


def _window(b: Builder, node: Operation, kernel: tuple[int, ...]) -> dict[str, Attribute]:
    """Strides, dilations and explicit pads of a sliding window."""
    strides = tuple(node.attributes.get("strides", (1,) * len(kernel)))
    dilations = tuple(node.attributes.get("dilations", (1,) * len(kernel)))
    pads = tuple(node.attributes.get("pads", (0,) * (2 * len(kernel))))
    if not len(strides) == len(dilations) == len(kernel) == 2 or len(pads) != 4:
        raise node.unsupported(f"{node.op} ({len(kernel)}-D)", FLAT)
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        pads = (0, 0, 0, 0)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = b.shape_of(node)[0][2:]
        pads = _same_pads(sizes, kernel, strides, dilations, mode == "SAME_UPPER")
    elif mode != "NOTSET":
        raise ValueError(f"unknown auto_pad '{mode}'")
    return {"strides": strides, "dilations": dilations, "pads": pads}


def _same_pads(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    upper: bool,
) -> tuple[int, ...]:
    """Pads that give ceil(size / stride) positions; the odd one goes after (upper) or before."""
    before, after = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (-(-size // stride) - 1) * stride + dilation * (k - 1) + 1
        total = max(reach - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if upper else large)
        after.append(large if upper else small)
    return (*before, *after)


def _conv(b: Builder, node: Operation) -> None:
    weight = b.constant(node, 1)
    if weight.ndim != 4:
        raise node.unsupported(f"Conv ({weight.ndim - 2}-D)", FLAT)
    attributes = _window(b, node, tuple(weight.shape[2:]))
    attributes["group"] = node.attributes.get("group", 1)
    inputs = [b.operand(node, 0), b.operand(node, 1)]
    if node.input(2):
        b.constant(node, 2)
        inputs.append(b.operand(node, 2))
    b.emit(node, "Conv", inputs, attributes)


def _pool(b: Builder, node: Operation) -> None:
    kernel = tuple(node.attributes["kernel_shape"])
    if _is_channel_pool(node, kernel):
        _channel_pool(b, node, kernel[0])
        return
    attributes = {"kernel_shape": kernel, **_window(b, node, kernel)}
    attributes["ceil_mode"] = node.attributes.get("ceil_mode", 0)
    if any(node.outputs[1:]):
        raise node.unsupported(f"{node.op} (with indices)", "use a pool without indices")
    if node.op == "AveragePool":
        attributes["count_include_pad"] = node.attributes.get("count_include_pad", 0)
        if attributes.pop("dilations") != (1, 1):
            raise node.unsupported("AveragePool (dilated)", "use dilation 1")
    if kernel == attributes["strides"] == (1, 1) and not any(attributes["pads"]):  # type: ignore[arg-type]
        b.alias(node.outputs[0], b.operand(node, 0))  # an adaptive pool that has nothing to do
        return
    b.emit(node, node.op, (b.operand(node, 0),), attributes)


def _is_channel_pool(node: Operation, kernel: tuple[int, ...]) -> bool:
    """Whether a pool averages over the channels only, as PyTorch writes its LRN."""
    flat = len(kernel) == 3 and kernel[1:] == (1, 1) and node.op == "AveragePool"
    steps = set(node.attributes.get("strides", ())) | set(node.attributes.get("dilations", ()))
    pads = node.attributes.get("pads", (0,) * 6)
    automatic = node.attributes.get("auto_pad", "NOTSET") != "NOTSET"
    return flat and steps <= {1} and not (automatic or any(pads[1:3]) or any(pads[4:]))


def _channel_pool(b: Builder, node: Operation, size: int) -> None:
    """A pool of rank 5 along axis 2 is one of rank 4 with the last two axes taken together."""
    before, after = (node.attributes.get("pads", (0,) * 6)[i] for i in (0, 3))
    source = b.shape_of(node)
    flat = tuple((*shape[:3], prod(shape[3:])) for shape in source)
    joined, pooled = b.inner(node, "joined"), b.inner(node, "pooled")
    b.reshape(node, b.operand(node, 0), flat, output=joined)
    attributes = {
        "kernel_shape": (size, 1),
        "pads": (before, 0, after, 0),
        "count_include_pad": node.attributes.get("count_include_pad", 0),
    }
    b.emit(node, "AveragePool", (b.resolve(joined),), attributes, output=pooled)
    target = tuple(
        (*result[:3], *shape[3:]) for result, shape in zip(b.shapes[pooled], source, strict=True)
    )
    b.reshape(node, pooled, target)


def _global_pool(b: Builder, node: Operation) -> None:
    rank = len(b.shape_of(node)[0])
    if rank == 4:
        b.emit(node, node.op, (b.operand(node, 0),))
    elif node.op == "GlobalAveragePool":
        axes = tuple(range(2, rank))
        b.emit(node, "ReduceMean", (b.operand(node, 0),), {"axes": axes, "keepdims": 1})
    else:
        raise node.unsupported(f"{node.op} ({rank - 2}-D)", FLAT)


WINDOWS: dict[str, Rule] = {
    "Conv": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
}
"""The rules of this module, by operator."""
