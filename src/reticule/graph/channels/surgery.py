"""What becomes of a graph and its tensors when units go, or change places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reticule.errors import ModelError
from reticule.graph.channels.units import Carried, Channels, along, moves
from reticule.graph.network import Graph, Node
from reticule.graph.shapes import Shape, slices


@dataclass(frozen=True)
class Surgery:
    """The new graph; for each axis of a tensor that carries units, what is left of it, in order."""

    graph: Graph
    kept: Mapping[tuple[str, int], np.ndarray]

    def applied(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors of the new graph.

        >>> surgery = Surgery(Graph({}, (), (), {"w": (1, 2)}), {("w", 0): np.array([1])})
        >>> surgery.applied({"w": np.array([[1, 2], [3, 4]])})["w"]
        array([[3, 4]])
        """
        made = {name: tensors[name] for name in self.graph.tensors}
        for (name, axis), index in self.kept.items():
            made[name] = made[name].take(index, axis)
        return made


def without(channels: Channels, units: np.ndarray, multiple: int = 1) -> Surgery:
    """The graph without some units.

    That changes no answer where nothing reads them any more: where the weights of all
    inputs that do (``channels.readers``) are zero.  The first of ``units`` go first: each
    group is left with a multiple of ``multiple``, or whole, and no value without channels,
    so the last ones may have to stay.  A unit that is fixed is a ValueError.
    """
    for unit in units.tolist():
        if unit in channels.fixed:
            raise ValueError(f"unit {unit} cannot be removed: {channels.fixed[unit]}")
    units = np.array(list(dict.fromkeys(units.tolist())), np.int64)
    gone = np.zeros(channels.count, bool)
    gone[units] = True
    for group in channels.groups.values():
        wanted = units[np.isin(units, group)]
        rounded = -(-max(group.size - wanted.size, 1) // multiple) * multiple
        gone[wanted[max(group.size - rounded, 0) :]] = False
    for carried in channels.values.values():
        if carried.units.size and gone[carried.units].all():
            gone[carried.units[0]] = False
    return _rebuilt(channels, ~gone, np.arange(channels.count))


def reordered(channels: Channels, orders: Iterable[np.ndarray]) -> Surgery:
    """The graph with units in other places; its answers stay.

    Each order names some units: the i-th of them takes the place that belonged to the one
    with the i-th smallest number.  Units of one of ``channels.classes`` can change places
    at will; a ValueError tells where another order cannot be kept.
    """
    orders, successors = list(orders), np.arange(channels.count)
    for order in orders:
        successors[np.sort(order)] = order
    named = np.concatenate([*orders, np.zeros(0, np.int64)])
    if np.unique(named).size < named.size:
        raise ValueError("a unit is in two orders, or twice in one")
    for unit in np.flatnonzero(successors != np.arange(channels.count)).tolist():
        if unit in channels.fixed:
            raise ValueError(f"unit {unit} cannot be moved: {channels.fixed[unit]}")
    return _rebuilt(channels, np.ones(channels.count, bool), successors)


@dataclass
class _Builder:
    """Positions that are left of each value's units, in their new order, node after node."""

    channels: Channels
    keeps: np.ndarray
    successors: np.ndarray
    shapes: Mapping[str, Shape]
    places: dict[str, np.ndarray] = field(default_factory=dict)
    kept: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def source(self, units: np.ndarray) -> np.ndarray:
        """The order that positions take where units begin: each is taken by its successor's.

        Where a unit has several positions, its first goes to the other's first.
        """
        left = np.flatnonzero(self.keeps[units])
        wanted, units = self.successors[units[left]], units[left]
        if np.array_equal(wanted, units):
            return left
        by_unit, by_wanted = np.argsort(units, kind="stable"), np.argsort(wanted, kind="stable")
        if not np.array_equal(units[by_unit], wanted[by_wanted]):  # some belong to other layers
            rank = np.empty_like(self.successors)
            rank[self.successors] = np.arange(rank.size)
            return left[np.argsort(rank[units], kind="stable")]
        place = np.empty_like(left)
        place[by_wanted] = left[by_unit]
        return place

    def along(self, node: Node, tensor: str, axis: int, index: np.ndarray) -> None:
        known = self.kept.setdefault((tensor, axis), index)
        if not np.array_equal(known, index):
            raise _odd(node)


def _odd(node: Node) -> ValueError:
    return ValueError(f"the order of units cannot be kept at node '{node.name}' ({node.op})")


def _rebuilt(channels: Channels, keeps: np.ndarray, successors: np.ndarray) -> Surgery:
    graph = channels.graph
    builder = _Builder(channels, keeps, successors, graph.shapes())
    for name in graph.inputs:
        builder.places[name] = np.arange(channels.values[name].units.size)
    nodes = []
    for node in graph.nodes:
        carried = channels.values[node.outputs[0]]
        place, changes = _rebuilt_node(builder, node, carried)
        if place.size != np.count_nonzero(keeps[carried.units]):
            raise _odd(node)
        builder.places[node.outputs[0]] = place
        nodes.append(replace(node, attributes={**node.attributes, **changes}) if changes else node)
    for name in graph.outputs:
        if name not in builder.places:
            continue
        if (builder.places[name] != np.arange(channels.values[name].units.size)).any():
            raise ValueError(f"the order of units of output '{name}' cannot change")
    tensors = {name: list(shape) for name, shape in graph.tensors.items()}
    for (name, axis), index in builder.kept.items():
        tensors[name][axis] = index.size
    shapes = {name: tuple(shape) for name, shape in tensors.items()}
    new = replace(graph, nodes=tuple(nodes), tensors=shapes)
    try:
        return Surgery(new.check(), builder.kept)
    except ModelError as problem:
        raise ValueError(f"the smaller network is not well formed: {problem}") from None


def _rebuilt_node(
    builder: _Builder, node: Node, carried: Carried
) -> tuple[np.ndarray, dict[str, Any]]:
    """Positions that a node's output keeps, and the attributes that change with them."""
    known = builder.places.get(node.inputs[0])
    before = builder.channels.values.get(node.inputs[0])
    fresh = builder.source(carried.units)
    if node.op in ("Conv", "Gemm"):
        return _layer(builder, node, carried, known, fresh)
    if node.op == "Concat":
        return _concatenated(builder, node, carried, fresh)
    if known is None or before is None:
        place = fresh
        for name in node.inputs:  # a constant, and a value
            place = builder.places.get(name, place)
    elif node.op == "Pad":
        return _padded(builder, node, carried, known)
    elif node.op in ("Reshape", "Flatten", "Transpose", "Slice"):
        return _rearranged(builder, node, before, carried, known)
    else:
        place = known if known.size == fresh.size else fresh
    _beside(builder, node, carried, place)
    return place, {}


def _beside(builder: _Builder, node: Node, carried: Carried, place: np.ndarray) -> None:
    """Other inputs of a node: their units must lie in the same order, constants follow."""
    out = builder.shapes[node.outputs[0]]
    for name in node.inputs:
        if name in builder.channels.graph.tensors:
            shape = builder.shapes[name]
            axis = 0
            if node.op != "BatchNormalization":
                axis = carried.axis - len(out) + len(shape)
            if (name, axis) in builder.channels.tensors and shape[axis] == carried.units.size:
                builder.along(node, name, axis, place)
        elif name in builder.places:
            other = builder.channels.values[name]
            full = other.units.size == carried.units.size
            same = np.array_equal(builder.channels.values[name].units, carried.units)
            if full and same and not np.array_equal(builder.places[name], place):
                raise _odd(node)


def _layer(
    builder: _Builder,
    node: Node,
    carried: Carried,
    known: np.ndarray | None,
    fresh: np.ndarray,
) -> tuple[np.ndarray, dict[str, Any]]:
    if node.inputs[1] not in builder.channels.graph.tensors or known is None:
        return fresh, {}
    groups = int(node.settings["group"]) if node.op == "Conv" else 1  # type: ignore[arg-type]
    inputs, changes = builder.shapes[node.inputs[0]][1], {}
    if groups > 1 and groups == inputs:  # depthwise: rows follow the channels
        times = carried.units.size // groups
        fresh = (known[:, None] * times + np.arange(times)).ravel()
        changes = {"group": int(known.size)}
    elif groups > 1:
        columns = _alike(node, known, groups, inputs // groups)
        fresh_rows = _alike(node, fresh, groups, carried.units.size // groups)
        fresh = np.concatenate([g * (carried.units.size // groups) + fresh_rows
                                for g in range(groups)])  # fmt: skip
        builder.along(node, node.inputs[1], 1, columns)
    elif (node.inputs[1], 1) in builder.channels.tensors:
        builder.along(node, node.inputs[1], 1, known)
    builder.along(node, node.inputs[1], 0, fresh)
    if len(node.inputs) > 2 and node.inputs[2] in builder.channels.graph.tensors:
        builder.along(node, node.inputs[2], 0, fresh)
    return fresh, changes


def _alike(node: Node, place: np.ndarray, groups: int, size: int) -> np.ndarray:
    """What each group of channels keeps, which must be the same."""
    if place.size % groups:
        raise _odd(node)
    parts = place.reshape(groups, -1) - size * np.arange(groups)[:, None]
    if (parts != parts[0]).any() or (parts < 0).any() or (parts >= size).any():
        raise _odd(node)
    return np.asarray(parts[0])


def _concatenated(
    builder: _Builder, node: Node, carried: Carried, fresh: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    axis = int(node.settings["axis"]) % len(builder.shapes[node.inputs[0]])  # type: ignore[arg-type]
    if axis != carried.axis:
        place = builder.places.get(node.inputs[0], fresh)
        _beside(builder, node, carried, place)
        return place, {}
    parts, start = [], 0
    for name in node.inputs:
        size = builder.shapes[name][axis]
        parts.append(start + builder.places.get(name, np.arange(size)))
        start += size
    return np.concatenate(parts), {}


def _padded(
    builder: _Builder, node: Node, carried: Carried, known: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Padded channels are all alike: their number is what counts."""
    settings: dict[str, Any] = dict(node.settings)
    pads, rank = list(settings["pads"]), len(builder.shapes[node.inputs[0]])
    size = builder.shapes[node.inputs[0]][carried.axis]
    before, after = pads[carried.axis], pads[carried.axis + rank]
    if carried.units.size != size + before + after or (not before and not after):
        return known, {}
    place = builder.source(carried.units)
    first = int(np.count_nonzero(builder.keeps[carried.units[:before]]))
    last = place.size - first - known.size
    if last < 0 or not np.array_equal(place[first : first + known.size], known + before):
        raise _odd(node)
    pads[carried.axis], pads[carried.axis + rank] = first, last
    return place, {"pads": tuple(pads)}


def _rearranged(
    builder: _Builder, node: Node, before: Carried, carried: Carried, known: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Cells that are numbered before and after, once whole and once without what is gone."""
    shape = builder.shapes[node.inputs[0]]
    if np.array_equal(known, np.arange(before.units.size)):
        return np.arange(carried.units.size), {}
    cells = np.arange(int(np.prod(shape))).reshape(shape)
    whole = moves(node, shape)(cells)
    position = np.full(cells.size, -1)
    lying = [1] * whole.ndim
    lying[carried.axis] = carried.units.size
    position[whole] = np.arange(carried.units.size).reshape(lying)
    changes: dict[str, Any] = {}
    if node.op == "Slice":
        changes = _slice(node, shape, before.axis, known)
    elif node.op == "Reshape":
        changes = _target(node, shape, carried, int(builder.keeps[carried.units].sum()))
    changed = replace(node, attributes={**node.attributes, **changes})
    left = cells.take(known, before.axis)
    try:
        found = along(position[moves(changed, left.shape)(left)])
    except ValueError:
        raise _odd(node) from None
    if found is None or (found.units < 0).any():
        raise _odd(node)
    if found.axis != carried.axis:  # one channel is left: which axis they lie along is open
        if found.units.size == 1 or carried.units.size == 1:
            return found.units[:1], changes
        raise _odd(node)
    return found.units, changes


def _slice(node: Node, shape: Shape, axis: int, known: np.ndarray) -> dict[str, Any]:
    """Bounds along the units' axis that take what is left between the old ones."""
    start, stop, step = slices(shape, node.settings)[axis].indices(shape[axis])
    if (start, stop, step) == (0, shape[axis], 1):
        return {}
    inside = np.flatnonzero((known >= start) & (known < stop))
    if step != 1 or (inside.size and inside[-1] - inside[0] + 1 != inside.size):
        raise _odd(node)
    first = int(inside[0]) if inside.size else 0
    settings: dict[str, Any] = dict(node.settings)
    starts, ends = list(settings["starts"]), list(settings["ends"])
    where = [int(each) % len(shape) for each in settings["axes"]].index(axis)
    starts[where], ends[where] = first, first + inside.size
    return {"starts": tuple(starts), "ends": tuple(ends)}


def _target(node: Node, shape: Shape, carried: Carried, size: int) -> dict[str, Any]:
    """The target of a Reshape with the new number of channels."""
    target = list(node.settings["shape"])  # type: ignore[arg-type]
    if target[carried.axis] == -1:
        return {}
    target[carried.axis] = size
    return {"shape": tuple(target)}
