"""Finding local response normalisation where an exporter has written it out.

PyTorch has no such operator in ONNX: it squares, pads the channels, averages over
them with a three-dimensional pool, multiplies by alpha, adds a bias, takes the power
and divides.  Everything up to the power has become nodes of the network when the
power is met; they are recognised here, and later dropped because nothing uses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from reticule.graph.network import Node
from reticule.graph.shapes import Attribute, Shape

Found = tuple[str, dict[str, Attribute]]


def normalisation(
    nodes: Sequence[Node],
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[Shape, ...]],
    value: str,
) -> Found | None:
    """The image and (size, alpha, bias) where ``value`` is ``bias + alpha * mean(image ** 2)``.

    The mean goes over a centred window of an odd number of channels; None if it is anything else.
    """
    made = {node.outputs[0]: node for node in nodes}
    sizes = {name: every[0] for name, every in shapes.items()}
    scaled, bias = _with_number(made, tensors, value, "Add")
    mean, alpha = _with_number(made, tensors, scaled, "Mul")
    if bias is None or alpha is None:
        return None
    source, windows = _channel_windows(made, sizes, mean)
    square = made.get(_before_reshapes(made, source))
    if square is None or square.op != "Mul" or square.inputs[0] != square.inputs[1]:
        return None
    image = square.inputs[0]
    shape = sizes[image]
    if len(shape) != 4 or sizes[value] != shape:
        return None
    around = (shape[0], prod(shape[2:]))
    size = windows.size
    centred = windows.before == windows.after == size // 2 and size % 2 == 1
    if not centred or any(place != around for place in windows.around):
        return None
    return image, {"size": size, "alpha": alpha, "bias": bias}


@dataclass
class _Windows:
    """A moving average along one axis: its length, zeros at both ends, elements around the axis."""

    size: int = 0
    before: int = 0
    after: int = 0
    around: list[tuple[int, int]] = field(default_factory=list)

    def along(self, shape: Shape, axis: int, before: int, after: int) -> None:
        """Note that a node works along an axis and how many zeros it puts at its ends."""
        self.around.append((prod(shape[:axis]), prod(shape[axis + 1 :])))
        self.before += before
        self.after += after


def _channel_windows(
    made: Mapping[str, Node], sizes: Mapping[str, Shape], value: str
) -> tuple[str, _Windows]:
    """What is averaged, and how; a size of 0 stands for anything that is no moving average."""
    windows = _Windows()
    pool = made.get(_before_reshapes(made, value))
    if pool is None or pool.op != "AveragePool":
        return "", windows
    settings: dict[str, Any] = pool.settings
    top, left, bottom, right = settings["pads"]
    counted = settings["count_include_pad"] or not (top or bottom)
    plain = settings["strides"] == (1, 1) and not (settings["ceil_mode"] or left or right)
    if plain and counted and settings["kernel_shape"][1] == 1:
        windows.size = settings["kernel_shape"][0]
    source = pool.inputs[0]
    windows.along(sizes[source], 2, top, bottom)
    pad = made.get(_before_reshapes(made, source))
    if pad is None or pad.op != "Pad":
        return source, windows
    source, rank = pad.inputs[0], len(sizes[pad.inputs[0]])
    ends: Any = pad.settings["pads"]
    axes = [i for i in range(rank) if ends[i] or ends[i + rank]]
    if len(axes) != 1 or pad.settings["value"] or pad.settings["mode"] != "constant":
        windows.size = 0
    for axis in axes:
        windows.along(sizes[source], axis, ends[axis], ends[axis + rank])
    return source, windows


def _with_number(
    made: Mapping[str, Node], tensors: Mapping[str, np.ndarray], value: str, op: str
) -> tuple[str, float | None]:
    """The other input of an operator that has one number as an input, and the number."""
    node = made.get(_before_reshapes(made, value))
    if node is not None and node.op == op:
        for other, number in (node.inputs, node.inputs[::-1]):
            if number in tensors and tensors[number].size == 1:
                return other, float(str(tensors[number].reshape(-1)[0]))
    return "", None


def _before_reshapes(made: Mapping[str, Node], value: str) -> str:
    while value in made and made[value].op in ("Reshape", "Identity"):
        value = made[value].inputs[0]
    return value
