"""From a graph to a plan, and from a plan to answers.

A plan is plain data: every value of the graph has a slot, every step says which slots
it reads, which it writes, and which it is the last to use.  Running one is a short loop.

All images of a batch are independent.  They are run some at a time, so that activations
stay bounded; a graph that would mix them (a mean over the batch axis, say, or a reshape
that only fits one image) is run image by image, so that an answer never depends on the
other images beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from reticule.engine.kernels import KERNELS, WEIGHTED
from reticule.engine.kernels.common import Kernel
from reticule.engine.operands import Operand
from reticule.errors import ModelError
from reticule.graph import Graph, Node
from reticule.graph.operators import OPERATORS
from reticule.graph.shapes import Shape, axis_of

VALUE_BYTES = 2 << 30
"""No value of a graph may be larger than this for one image."""

BATCH_BYTES = 16 << 20
"""Activations that images run together may take, where one image does not take more."""

PROBES = (7, 11)
"""Batch sizes at which a graph is tried for keeping its images apart."""


@dataclass(frozen=True)
class Step:
    """One kernel call."""

    where: str
    kernel: Kernel
    inputs: tuple[int | None, ...]
    weight: int | None  # position of the input that stays in run form
    attributes: Mapping[str, Any]
    output: int
    frees: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A compiled graph; ``shapes`` are the outputs' without the batch axis."""

    steps: tuple[Step, ...]
    slots: int
    inputs: tuple[int, ...]
    constants: Mapping[int, Operand]
    outputs: tuple[int, ...]
    shapes: tuple[Shape, ...]
    together: int

    def run(self, inputs: Sequence[np.ndarray], threads: int) -> list[np.ndarray]:
        """Outputs for at most ``together`` images: float32 arrays with the batch first."""
        values: list[Any] = [None] * self.slots
        for slot, operand in self.constants.items():
            values[slot] = operand
        for slot, array in zip(self.inputs, inputs, strict=True):
            values[slot] = array
        for step in self.steps:
            values[step.output] = _apply(step, values, threads)
            for slot in step.frees:
                values[slot] = None
        return [_array(values[slot]) for slot in self.outputs]


def _array(value: Operand | np.ndarray) -> np.ndarray:
    return value.dense() if isinstance(value, Operand) else value


def _apply(step: Step, values: list[Any], threads: int) -> np.ndarray:
    arguments = [None if slot is None else values[slot] for slot in step.inputs]
    for position, value in enumerate(arguments):
        if position != step.weight and isinstance(value, Operand):
            arguments[position] = value.dense()
    try:
        return np.asarray(step.kernel(arguments, step.attributes, threads))
    except ModelError as problem:
        raise ModelError(f"{step.where}: {problem}") from None
    except MemoryError:
        raise ModelError(
            f"{step.where}: not enough memory for its result; run fewer images at once"
        ) from None


def compiled(graph: Graph, operands: Mapping[str, Operand]) -> Plan:
    """The plan of a graph that has passed ``check()``; ModelError where it cannot be run."""
    slots = _slots(graph)
    shapes = graph.shapes()
    live = _checked_sizes(graph, shapes)
    together = max(1, BATCH_BYTES // max(live, 1))
    if not _keeps_images_apart(graph, shapes, together):
        together = 1
    for name in graph.outputs:
        if name in graph.tensors or shapes[name][:1] != (1,):
            raise ModelError(
                f"output '{name}' has shape {shapes[name]} for one image; "
                "its first axis must be the batch"
            )
    last = _last_uses(graph)
    return Plan(
        steps=tuple(_step(node, slots, last[node.name]) for node in graph.nodes),
        slots=len(slots),
        inputs=tuple(slots[name] for name in graph.inputs),
        constants={slots[name]: operands[name] for name in graph.tensors},
        outputs=tuple(slots[name] for name in graph.outputs),
        shapes=tuple(shapes[name][1:] for name in graph.outputs),
        together=together,
    )


def _slots(graph: Graph) -> dict[str, int]:
    names = [*graph.inputs, *graph.tensors]
    names.extend(name for node in graph.nodes for name in node.outputs)
    return {name: slot for slot, name in enumerate(names)}


def _step(node: Node, slots: Mapping[str, int], frees: Sequence[str]) -> Step:
    return Step(
        where=_where(node),
        kernel=KERNELS[node.op],
        inputs=tuple(slots[name] if name else None for name in node.inputs),
        weight=WEIGHTED.get(node.op),
        attributes=_settings(node),
        output=slots[node.outputs[0]],
        frees=tuple(slots[name] for name in frees),
    )


def _where(node: Node) -> str:
    return f"node '{node.name}' ({node.op})"


def _settings(node: Node) -> dict[str, Any]:
    """All attributes; those that are numbers fit a float."""
    settings: dict[str, Any] = node.settings
    for name, parameter in OPERATORS[node.op].parameters.items():
        if parameter.kind == "float":
            try:
                settings[name] = float(settings[name])
            except OverflowError:
                raise ModelError(f"{_where(node)}: attribute '{name}' is out of range") from None
    return settings


def _last_uses(graph: Graph) -> dict[str, list[str]]:
    """For each node the values that nothing uses after it: activations, never weights."""
    last = {name: "" for name in graph.inputs}
    for node in graph.nodes:
        for name in (*node.inputs, *node.outputs):
            if name and name not in graph.tensors:
                last[name] = node.name
    frees: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    for name, user in last.items():
        if user and name not in graph.outputs:
            frees[user].append(name)
    return frees


def _checked_sizes(graph: Graph, shapes: Mapping[str, Shape]) -> int:
    """Bytes of activations that are alive at the worst moment, for one image."""
    kept_packed = {node.inputs[WEIGHTED[node.op]] for node in graph.nodes if node.op in WEIGHTED}
    sizes = {}
    for name, shape in shapes.items():
        sizes[name] = 4 * prod(shape)
        if any(size < 0 for size in shape) or len(shape) > 32:
            raise ModelError(f"value '{name}' has an impossible shape {shape}")
        if sizes[name] > VALUE_BYTES and not (name in graph.tensors and name in kept_packed):
            raise ModelError(
                f"value '{name}' of shape {shape} needs {sizes[name] >> 20} MiB for one image, "
                f"more than the limit of {VALUE_BYTES >> 20} MiB; use smaller images"
            )
    frees = _last_uses(graph)
    alive = worst = sum(sizes[name] for name in graph.inputs)
    for node in graph.nodes:
        alive += sizes[node.outputs[0]]
        worst = max(worst, alive)
        alive -= sum(sizes[name] for name in frees[node.name])
    return worst


def _keeps_images_apart(graph: Graph, shapes: Mapping[str, Shape], together: int) -> bool:
    """Whether each image's values stay its own row when several are run together."""
    varying = _depend_on_inputs(graph)
    for node in graph.nodes:
        if node.op in ("Softmax", "LogSoftmax") and node.outputs[0] in varying:
            axis: Any = node.settings["axis"]
            if axis_of(axis, len(shapes[node.inputs[0]])) == 0:
                return False
    for batch in (*PROBES, together):
        try:
            found = graph.shapes(batch)
        except ModelError:
            return False
        if any(found[name] != (batch, *shapes[name][1:]) for name in varying):
            return False
    return True


def _depend_on_inputs(graph: Graph) -> set[str]:
    known = set(graph.inputs)
    for node in graph.nodes:
        if known.intersection(node.inputs):
            known.update(node.outputs)
    return known
