"""Units as they are found, and joined where they turn out to be one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from reticule.graph.channels.units import Carried, Channels
from reticule.graph.network import Graph, Node
from reticule.graph.shapes import Shape


@dataclass
class Tracer:
    """Units as they are found; ``parents`` joins those that turn out to be one."""

    graph: Graph
    shapes: dict[str, Shape]
    tie_groups: bool
    values: dict[str, Carried] = field(default_factory=dict)
    tensors: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    readers: dict[tuple[str, int], None] = field(default_factory=dict)
    sides: list[np.ndarray] = field(default_factory=list)
    layers: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def new(self, name: str, axis: int, count: int) -> Carried:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        self.names.extend([name] * count)
        return Carried(axis, np.arange(first, first + count))

    def stuck(self, node: Node, reason: str) -> Carried:
        """What a node puts out whose channels cannot be followed: new units, all fixed."""
        shape = self.shapes[node.outputs[0]]
        axis = min(1, len(shape) - 1)
        carried = self.new(node.name, axis, shape[axis])
        self.fix(carried, reason)
        return carried

    def root(self, unit: int) -> int:
        while self.parents[unit] != unit:
            self.parents[unit] = self.parents[self.parents[unit]]
            unit = self.parents[unit]
        return unit

    def roots(self, units: np.ndarray) -> np.ndarray:
        return np.array([self.root(unit) for unit in units.tolist()], np.int64)

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((self.root(a), self.root(b)))
            self.parents[second] = first

    def fix(self, carried: Carried | None, reason: str) -> None:
        for unit in carried.units.tolist() if carried is not None else ():
            self.reasons.setdefault(unit, reason)

    def lies_along(self, tensor: str, axis: int, units: np.ndarray) -> None:
        """A tensor that several nodes use makes their units one."""
        known = self.tensors.setdefault((tensor, axis), units)
        if known is not units:
            self.join(known, units)


def finished(tracer: Tracer) -> Channels:
    """Units numbered without gaps, and those that meet on one side of a layer as groups."""
    heads = sorted({tracer.root(unit) for unit in range(len(tracer.parents))})
    number = {head: place for place, head in enumerate(heads)}

    def numbered(units: np.ndarray) -> np.ndarray:
        return np.array([number[root] for root in tracer.roots(units).tolist()], np.int64)

    fixed: dict[int, str] = {}
    for unit, reason in tracer.reasons.items():
        fixed.setdefault(number[tracer.root(unit)], reason)
    return Channels(
        tracer.graph,
        _grouped(tracer, heads, [numbered(side) for side in tracer.sides]),
        {name: Carried(c.axis, numbered(c.units)) for name, c in tracer.values.items()},
        {key: numbered(units) for key, units in tracer.tensors.items()},
        tuple(tracer.readers),
        fixed,
        {name: (numbered(rows), numbered(ins)) for name, (rows, ins) in tracer.layers.items()},
    )


def _grouped(tracer: Tracer, heads: list[int], sides: list[np.ndarray]) -> dict[str, np.ndarray]:
    parents = list(range(len(heads)))

    def group(unit: int) -> int:
        while parents[unit] != unit:
            parents[unit] = parents[parents[unit]]
            unit = parents[unit]
        return unit

    for units in sides:
        for unit in np.unique(units).tolist():
            first, second = sorted((group(int(units[0])), group(unit)))
            parents[second] = first
    members: dict[int, list[int]] = {}
    for unit in sorted({unit for units in sides for unit in units.tolist()}):
        members.setdefault(group(unit), []).append(unit)
    named: dict[str, np.ndarray] = {}
    for first, group_units in members.items():
        name = tracer.names[heads[first]]
        named[_free(name, named)] = np.array(group_units, np.int64)
    return named


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, or one like it where an input and a node are called the same."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return free
