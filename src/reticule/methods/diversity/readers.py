"""What the layers that read some units see of them, and what they should put out.

Units of one *class* (:class:`~reticule.graph.channels.Channels`) can be removed one by one.
The convolutions and linear layers that read them are what notices: each has H = E[x x^T] of its
inputs x as they are now, and C = E[x t^T] of its outputs t as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from reticule.codec.second_order import definite
from reticule.forms import Dense, Packed
from reticule.graph import Graph, Node
from reticule.graph.channels import Channels
from reticule.methods.layerwise.layer import LARGEST_HESSIAN, Layer, Streams
from reticule.science.submodular import Reconstruction
from reticule.tuning.executor import execute
from reticule.tuning.problem import as_input, constant_tensors

BATCH = 64
OTHER, GONE = -1, -2


@dataclass(frozen=True)
class Seen:
    """A layer that reads units: in each of its groups of channels H, C, and each column's unit.

    ``units`` is OTHER where a column belongs to another class, GONE where its unit has gone.
    """

    node: Node
    square: np.ndarray  # (groups, columns, columns)
    cross: np.ndarray  # (groups, columns, outputs of a group)
    weights: np.ndarray  # (groups, outputs of a group, columns)
    mean: np.ndarray  # of the inputs now (groups, columns)
    mean_then: np.ndarray
    lacking: np.ndarray  # what a value that the outputs are added to lacks, in the mean (outputs,)
    units: np.ndarray  # (columns,)
    bias: np.ndarray | None  # then (outputs,); None where it is none of the network's tensors

    @cached_property
    def energy(self) -> float:
        """E|t|^2 as far as these inputs explain it."""
        total = 0.0
        for square, cross in zip(self.square, self.cross, strict=True):
            total += float((cross * np.linalg.solve(definite(square), cross)).sum())
        return max(total, 1e-30)

    def shift(self, weights: np.ndarray) -> np.ndarray:
        """What other weights take from the mean of each output (outputs,): for the bias."""
        was = (self.weights @ self.mean_then[:, :, None])[..., 0]
        return (was - (weights @ self.mean[:, :, None])[..., 0]).ravel() + self.lacking

    def kernel(self, count: int) -> np.ndarray:
        """E[v v^T] of the units' own values (count, count), summed over taps and cells."""
        total = np.zeros((count, count))
        columns = np.flatnonzero(self.units >= 0)
        units = self.units[columns]
        times = np.bincount(units, minlength=count).max()
        own = columns.reshape(-1, times) if columns.size == count * times else None
        for square in self.square:
            if own is not None and (self.units[own] == np.arange(count)[:, None]).all():
                for tap in range(times):
                    total += square[np.ix_(own[:, tap], own[:, tap])]
            else:
                mark = (self.units[:, None] == np.arange(count)).astype(float)
                total += mark.T @ square @ mark
        return total


def beside_of(graph: Graph, node: Node) -> str:
    """The value that a layer's output is added to and nothing else is, or ""."""
    output, shapes = node.outputs[0], graph.shapes()
    users = [n for n in graph.nodes if output in n.inputs]
    if len(users) != 1 or users[0].op != "Add" or output in graph.outputs:
        return ""
    other = next((name for name in users[0].inputs if name != output), "")
    return other if shapes.get(other) == shapes[output] and other not in graph.tensors else ""


def reads(channels: Channels, units: np.ndarray) -> list[str]:
    """The weight tensors that read any of the units, in the order of the graph."""
    names = [n for n, axis in channels.readers if np.isin(channels.tensors[n, axis], units).any()]
    order = [name for _, name in channels.graph.weights()]
    return sorted(set(names), key=order.index)


def reason_against(packed: Packed, channels: Channels, units: np.ndarray) -> str:
    """Why units of a class cannot be selected, or the empty string."""
    names = reads(channels, units)
    if not names:
        return "nothing reads it"
    for name in names:
        if not isinstance(packed.forms[name], Dense):
            return f"'{name}' is in the form {packed.forms[name].name}"
        if int(np.prod(packed.graph.tensors[name][1:])) > LARGEST_HESSIAN:
            return f"'{name}' has more than {LARGEST_HESSIAN} inputs to an output"
    return ""


@torch.no_grad()
def streams(packed: Packed, inputs: tuple[np.ndarray, ...], names: Sequence[str]) -> Streams:
    """Values of a network on some inputs, batch by batch, by name."""
    tensors = constant_tensors(packed.network())
    wanted = [name for name in dict.fromkeys(names) if name not in packed.graph.inputs]
    order = [n.outputs[0] for n in packed.graph.nodes if n.outputs[0] in wanted]
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, len(inputs[0]), BATCH):
        batch = [as_input(values[start : start + BATCH]) for values in inputs]
        values = execute(packed.graph, tensors, *batch, watch=frozenset(wanted))
        for name, value in zip(order, values[len(packed.graph.outputs) :], strict=True):
            found[name].append(value)
        for name, given in zip(packed.graph.inputs, batch, strict=True):
            if name in found:
                found[name].append(given)
    return found


def seen(
    packed: Packed,
    channels: Channels,
    units: np.ndarray,
    before: Packed,
    then: Streams,
    now: Streams,
    gone: Sequence[int],
    images: int,
) -> list[Seen]:
    """What each layer that reads the units sees ``now``; it should do what it did ``then``.

    ``before`` is the network as it was then, ``gone`` are units of other classes that nothing
    may read any more; ``images`` is how many differ.
    """
    found = []
    place = dict.fromkeys(gone, GONE) | {unit: i for i, unit in enumerate(units.tolist())}
    for node, name in packed.graph.weights():
        if name not in reads(channels, units):
            continue
        groups = int(node.settings["group"]) if node.op == "Conv" else 1  # type: ignore[arg-type]
        dense = before.forms[name].dense()
        beside = beside_of(packed.graph, node)
        beside = beside if beside in now and then is not now else ""
        layer = Layer(packed.graph, node, constant_tensors(packed.network()), then, now, beside)
        averages = layer.averages(dense.shape, centre=True).expected(images)
        rows = dense.reshape(groups, dense.shape[0] // groups, -1).astype(np.float64)
        cross = rows @ averages.cross
        lacking = np.zeros(dense.shape[0])
        if averages.error is not None:
            cross = cross + averages.error
            pairs = zip(then[beside], now[beside], strict=True)
            axes = tuple(a for a in range(now[beside][0].ndim) if a != 1)
            lost = torch.stack([(a - b).double().mean(axes) * len(a) for a, b in pairs]).sum(0)
            lacking = (lost / sum(map(len, now[beside]))).numpy()
        cross = cross.transpose(0, 2, 1)
        line = [place.get(unit, OTHER) for unit in channels.tensors[name, 1].tolist()]
        columns = np.repeat(line, int(np.prod(dense.shape[2:])))
        means = averages.mean, averages.mean_then
        bias = before.forms.get(node.inputs[2]) if len(node.inputs) > 2 else None
        old = bias.dense() if isinstance(bias, Dense) else None
        found.append(Seen(node, averages.square, cross, rows, *means, lacking, columns, old))
    return found


def reconstruction(readers: Sequence[Seen], count: int, ridge: float) -> Reconstruction:
    """How much of all readers' outputs a set of units explains; each counts by its energy."""
    objective = Reconstruction(count, ridge)
    for reader in readers:
        here = np.flatnonzero(reader.units != GONE)
        for square, cross in zip(reader.square, reader.cross, strict=True):
            part = square[np.ix_(here, here)], cross[here], reader.units[here]
            objective.layer(*part, 1 / reader.energy)
    return objective


def refitted(reader: Seen, kept: np.ndarray, ridge: float) -> np.ndarray:
    """Weights that restore the outputs from what is kept, by least squares.

    Other columns become zero.  ``ridge``, in mean diagonals of H, holds to the old weights.
    """
    stays = np.isin(reader.units, kept) | (reader.units == OTHER)
    made = np.zeros_like(reader.weights)
    for g, (square, cross) in enumerate(zip(reader.square, reader.cross, strict=True)):
        inner = square[np.ix_(stays, stays)]
        extra = ridge * float(square.diagonal().mean())
        old = reader.weights[g][:, stays]
        right = cross[stays] + extra * old.T
        matrix = definite(inner + extra * np.eye(len(inner)))
        made[g][:, stays] = np.linalg.solve(matrix, right).T
    return made


def merged(reader: Seen, kept: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weights where kept units also stand for others: ``shares`` (units, kept) says how much."""
    made = reader.weights.copy()
    of_unit = {unit: np.flatnonzero(reader.units == unit) for unit in range(len(shares))}
    made[:, :, reader.units != OTHER] = 0
    for unit, own in of_unit.items():
        for place, keeper in enumerate(kept.tolist()):
            if own.size and shares[unit, place]:
                made[:, :, of_unit[keeper]] += shares[unit, place] * reader.weights[:, :, own]
    return made
