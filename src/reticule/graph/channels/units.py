"""Units, and what carries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reticule.graph.network import Graph, Node
from reticule.graph.shapes import Shape, reshaped, slices

Moves = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Carried:
    """The units that a value or tensor carries along one of its axes, one for each position."""

    axis: int
    units: np.ndarray


@dataclass(frozen=True)
class Channels:
    """The units of a graph, by number.

    ``groups`` names the units that meet on one side of a layer, ``values`` says what each
    value between nodes carries, ``tensors`` which units lie along an axis of a tensor, by
    (name, axis).  ``readers`` are those of the tensors' axes that read units: the inputs of
    convolutions and linear layers.  ``fixed`` are units that cannot be removed, with the
    reason.  ``layers`` has the units of outputs and inputs of each layer with weights.
    """

    graph: Graph
    groups: Mapping[str, np.ndarray]
    values: Mapping[str, Carried]
    tensors: Mapping[tuple[str, int], np.ndarray]
    readers: tuple[tuple[str, int], ...]
    fixed: Mapping[int, str]
    layers: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @cached_property
    def count(self) -> int:
        """One more than the largest unit's number."""
        carried = [c.units for c in self.values.values()]
        return 1 + max((int(units.max()) for units in carried if units.size), default=-1)

    @cached_property
    def classes(self) -> tuple[np.ndarray, ...]:
        """Units that may change places with each other: those that meet the same values.

        Fixed ones are in none.
        """
        lines = {c.units.tobytes(): c.units for c in self.values.values()}
        seen = np.array([np.bincount(line, minlength=self.count) for line in lines.values()])
        group = np.zeros(self.count, np.int64)
        for number, units in enumerate(self.groups.values()):
            group[units] = number + 1
        group[list(self.fixed)] = 0
        found: dict[bytes, list[int]] = {}
        for unit in np.flatnonzero(group).tolist():
            found.setdefault(group[unit].tobytes() + seen[:, unit].tobytes(), []).append(unit)
        return tuple(np.array(units, np.int64) for units in found.values())

    def read(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which units a weight that is not zero reads, or something that has no weights."""
        found = np.zeros(self.count, bool)
        found[list(self.fixed)] = True
        for name, axis in self.readers:
            weights = np.moveaxis(tensors[name], axis, 0)
            used = weights.reshape(len(weights), -1).any(1) if weights.size else None
            if used is not None:
                found[self.tensors[name, axis][used]] = True
        return found

    def of(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """The units of the outputs and of the inputs of a convolution or linear layer."""
        return self.layers[node.name]


def moves(node: Node, shape: Shape) -> Moves:
    """What a node that only rearranges does to an array of ``shape`` or, along its units' axis,
    a shorter one (with the target that fits it)."""
    settings: dict[str, Any] = dict(node.settings)
    if node.op == "Transpose":
        return lambda cells: cells.transpose(settings["perm"])
    if node.op == "Slice":
        return lambda cells: cells[slices(cells.shape, settings)]
    if node.op == "Flatten":
        axis = settings["axis"] % len(shape) if settings["axis"] < 0 else settings["axis"]
        return lambda cells: cells.reshape(int(np.prod(cells.shape[:axis])), -1)
    return lambda cells: cells.reshape(reshaped(cells.shape, settings["shape"]))


def along(cells: np.ndarray) -> Carried | None:
    """The axis along which alone the entries differ, and one line of them."""
    if not cells.size:
        return None
    axes = range(cells.ndim)
    for axis in sorted(axes, key=lambda axis: (axis != min(1, cells.ndim - 1), axis)):
        line = cells[tuple(slice(None) if x == axis else 0 for x in axes)]
        if (np.moveaxis(cells, axis, -1) == line).all():
            return Carried(axis, line)
    return None
