"""Following channels and features through a graph, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reticule.graph.channels.tracer import Tracer, finished
from reticule.graph.channels.units import Carried, Channels, along, moves
from reticule.graph.network import Graph, Node
from reticule.graph.shapes import slices


def trace(
    graph: Graph, rigid: Mapping[str, str] | None = None, *, tie_groups: bool = True
) -> Channels:
    """Follow the channels of a graph.

    ``rigid`` are tensors whose rows and columns cannot be taken out, with the reason: it fixes
    their units.  The channels that a grouped convolution has at the same place of each
    group are one unit, so that groups stay alike when some go; without ``tie_groups`` they
    are not: the wiring as it is, but not what can be removed.
    """
    tracer = Tracer(graph, graph.shapes(), tie_groups)
    for name in graph.inputs:
        shape = tracer.shapes[name]
        axis = min(1, len(shape) - 1)
        tracer.values[name] = tracer.new(name, axis, shape[axis])
        tracer.fix(tracer.values[name], "an input of the network")
        tracer.sides.append(tracer.values[name].units)
    for node in graph.nodes:
        rule = _RULES.get(node.op, _passed_on)
        tracer.values[node.outputs[0]] = rule(tracer, node)
    for name in graph.outputs:
        tracer.fix(tracer.values.get(name), "an output of the network")
    for (name, _), units in tracer.tensors.items():
        if reason := (rigid or {}).get(name):
            tracer.fix(Carried(0, units), reason)
    return finished(tracer)


def _passed_on(tracer: Tracer, node: Node) -> Carried:
    """An operator that treats each channel by itself."""
    carried = tracer.values.get(node.inputs[0])
    if carried is None:
        return tracer.stuck(node, f"computed from constants by node '{node.name}'")
    for name in node.inputs[1:]:  # the statistics of a batch norm
        if name in tracer.graph.tensors:
            tracer.lies_along(name, 0, carried.units)
        elif name:
            tracer.fix(tracer.values.get(name), f"a parameter of node '{node.name}'")
            tracer.fix(carried, f"parameters of node '{node.name}' are computed")
    return carried


def _layer(tracer: Tracer, node: Node) -> Carried:
    """Convolution or linear layer: new units, and the inputs that read the old ones."""
    inputs, out = tracer.values.get(node.inputs[0]), tracer.shapes[node.outputs[0]]
    axis = 1 if node.op == "Conv" else len(out) - 1
    if node.inputs[1] not in tracer.graph.tensors:
        for name in node.inputs:
            tracer.fix(tracer.values.get(name), f"weights of node '{node.name}' are computed")
        return tracer.stuck(node, f"weights of node '{node.name}' are computed")
    rows = tracer.new(node.name, axis, out[axis])
    groups = int(node.settings["group"]) if node.op == "Conv" else 1  # type: ignore[arg-type]
    in_axis = 1 if node.op == "Conv" else len(tracer.shapes[node.inputs[0]]) - 1
    if inputs is None or inputs.axis != in_axis:
        reason = f"node '{node.name}' reads another axis"
        tracer.fix(inputs, reason)
        inputs = tracer.new(f"{node.name}.input", in_axis, tracer.shapes[node.inputs[0]][in_axis])
        tracer.fix(inputs, reason)
        tracer.fix(rows, reason)
    tracer.sides += [rows.units, inputs.units]
    tracer.layers[node.name] = (rows.units, inputs.units)
    _wired(tracer, node, rows.units, inputs.units, groups)
    tracer.lies_along(node.inputs[1], 0, rows.units)
    if len(node.inputs) > 2 and node.inputs[2] in tracer.graph.tensors:
        tracer.lies_along(node.inputs[2], 0, rows.units)
    elif len(node.inputs) > 2 and node.inputs[2]:
        tracer.fix(tracer.values.get(node.inputs[2]), f"the bias of node '{node.name}'")
        tracer.fix(rows, f"the bias of node '{node.name}' is computed")
    return rows


def _wired(tracer: Tracer, node: Node, rows: np.ndarray, inputs: np.ndarray, groups: int) -> None:
    """Ties of a grouped convolution; which columns read which inputs."""
    if groups == 1:
        tracer.lies_along(node.inputs[1], 1, inputs)
        tracer.readers[node.inputs[1], 1] = None
    elif groups == inputs.size and tracer.tie_groups:  # depthwise: goes with its input
        tracer.join(rows, np.repeat(inputs, rows.size // groups))
    elif tracer.tie_groups:
        for units in (rows, inputs):
            first, *others = units.reshape(groups, -1)
            for other in others:
                tracer.join(first, other)
        tracer.lies_along(node.inputs[1], 1, inputs[: inputs.size // groups])
        tracer.readers[node.inputs[1], 1] = None


def _elementwise(tracer: Tracer, node: Node) -> Carried:
    """Sum, product, slope: what meets elementwise is one unit; constants lie along it."""
    out = tracer.shapes[node.outputs[0]]
    sides = []
    for name in node.inputs:
        if (carried := tracer.values.get(name)) is not None:
            axis = carried.axis + len(out) - len(tracer.shapes[name])
            sides.append(Carried(axis, carried.units))
    full = [side for side in sides if side.units.size == out[side.axis]]
    if not full or any(side.axis != full[0].axis for side in full):
        reason = f"node '{node.name}' mixes channels with another axis"
        for side in sides:
            tracer.fix(side, reason)
        return tracer.stuck(node, reason)
    made = full[0]
    for side in full[1:]:
        tracer.join(made.units, side.units)
    for side in sides:
        if side.units.size != out[side.axis]:
            tracer.fix(side, f"node '{node.name}' spreads it over many channels")
    for name in node.inputs:
        axis = made.axis - len(out) + len(tracer.shapes[name])
        if name in tracer.graph.tensors and axis >= 0 and tracer.graph.tensors[name][axis] > 1:
            tracer.lies_along(name, axis, made.units)
    return made


def _concatenated(tracer: Tracer, node: Node) -> Carried:
    axis = int(node.settings["axis"]) % len(tracer.shapes[node.inputs[0]])  # type: ignore[arg-type]
    known = [tracer.values.get(name) for name in node.inputs]
    axes = {carried.axis for carried in known if carried is not None}
    if axes == {axis}:
        parts = []
        for name, carried in zip(node.inputs, known, strict=True):
            if carried is None:
                carried = tracer.new(name, axis, tracer.shapes[name][axis])
                tracer.fix(carried, f"constant '{name}'")
            parts.append(carried.units)
        return Carried(axis, np.concatenate(parts))
    if len(axes) == 1 and None not in known:
        whole = [carried for carried in known if carried is not None]
        for other in whole[1:]:
            tracer.join(whole[0].units, other.units)
        return whole[0]
    reason = f"node '{node.name}' puts different axes together"
    for carried in known:
        tracer.fix(carried, reason)
    return tracer.stuck(node, reason)


def _padded(tracer: Tracer, node: Node) -> Carried:
    """Constant channels before and behind are units too: a sum may join them to others."""
    carried = _passed_on(tracer, node)
    pads, rank = node.settings["pads"], len(tracer.shapes[node.inputs[0]])
    before, after = (int(pads[carried.axis + end]) for end in (0, rank))  # type: ignore[index]
    if not before and not after:
        return carried
    if node.settings["mode"] != "constant" or min(before, after) < 0:
        reason = f"node '{node.name}' pads channels by others, or crops them"
        tracer.fix(carried, reason)
        return tracer.stuck(node, reason)
    made = tracer.new(node.name, carried.axis, before + after).units
    return Carried(carried.axis, np.concatenate([made[:before], carried.units, made[before:]]))


def _rearranged(tracer: Tracer, node: Node) -> Carried:
    """Values that were moved: every cell gets the number of its unit, and moves along."""
    carried = _passed_on(tracer, node)
    shape = tracer.shapes[node.inputs[0]]
    if node.inputs[0] not in tracer.values:
        return carried
    if node.op == "Slice":
        step = slices(shape, node.settings)[carried.axis].step
        if step not in (None, 1):
            tracer.fix(carried, f"node '{node.name}' takes every {step}th channel")
    lying = [1] * len(shape)
    lying[carried.axis] = carried.units.size
    cells = np.broadcast_to(carried.units.reshape(lying), shape)
    found = along(moves(node, shape)(cells))
    if found is None:
        reason = f"node '{node.name}' spreads channels over several axes"
        tracer.fix(carried, reason)
        return tracer.stuck(node, reason)
    return found


def _reduced(tracer: Tracer, node: Node) -> Carried:
    carried, rank = tracer.values.get(node.inputs[0]), len(tracer.shapes[node.inputs[0]])
    settings: Mapping[str, Any] = node.settings
    axes = {axis % rank for axis in settings["axes"]} or set(range(rank))
    if carried is None or carried.axis in axes:
        tracer.fix(carried, f"node '{node.name}' sums over channels")
        return tracer.stuck(node, f"node '{node.name}' sums over channels")
    if settings["keepdims"]:
        return carried
    return Carried(carried.axis - sum(axis < carried.axis for axis in axes), carried.units)


def _across(tracer: Tracer, node: Node) -> Carried:
    """Softmax and response normalisation, which look at channels together."""
    carried = _passed_on(tracer, node)
    axis = int(node.settings.get("axis", 1))  # type: ignore[arg-type]
    if axis % len(tracer.shapes[node.inputs[0]]) == carried.axis:
        tracer.fix(carried, f"node '{node.name}' compares channels")
    return carried


def _multiplied(tracer: Tracer, node: Node) -> Carried:
    reason = f"node '{node.name}' multiplies two values"
    for name in node.inputs:
        tracer.fix(tracer.values.get(name), reason)
    return tracer.stuck(node, reason)


_RULES: dict[str, Callable[[Tracer, Node], Carried]] = {
    "Conv": _layer, "Gemm": _layer, "MatMul": _multiplied, "Concat": _concatenated,
    "Add": _elementwise, "Sub": _elementwise, "Mul": _elementwise, "Div": _elementwise,
    "PRelu": _elementwise, "Pad": _padded, "ReduceMean": _reduced, "Reshape": _rearranged,
    "Flatten": _rearranged, "Transpose": _rearranged, "Slice": _rearranged,
    "Softmax": _across, "LogSoftmax": _across, "LRN": _across,
}  # fmt: skip
