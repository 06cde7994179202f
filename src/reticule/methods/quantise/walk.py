"""Layer by layer through a network, each quantised for the inputs that it really gets.

Two networks run side by side on the calibration images: the original, and the one whose
layers up to here are quantised.  At each layer:

1. What the quantised network's layer sees gives H (about its mean, which the bias takes care
   of), and what the original's sees a target: the weights which, from the inputs as they
   are now, best restore the outputs as they were (least squares).
2. The target is quantised, with error feedback (see :mod:`reticule.codec.quantiser`).
3. The bias takes what is left of the shift of each channel's mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Form, Packed, Quantised
from reticule.graph import Graph, Node
from reticule.methods.quantise.calibration import Seen, channels_last, seen_by
from reticule.methods.quantise.layers import Choice, Sensitivity, quantise_layer
from reticule.progress import Progress
from reticule.tuning.executor import EXECUTORS
from reticule.tuning.problem import as_input, constant_tensors

BATCH = 64
MOST_ENTRIES = 1 << 21  # of an im2col matrix at a time: it stays in the cache
SAMPLES = 256  # for each column of a Hessian; more positions are thinned out
RIDGE = 0.05  # of the mean diagonal: how much a target may lean on single images
LARGEST_HESSIAN = 5000  # columns; wider layers get a diagonal one


@dataclass(frozen=True)
class Settings:
    """How finely to quantise: lambda in nats of lost answers per bit, states of the trellis."""

    lam: float
    states: int = 8
    bias_bits: int = 8
    compensate: bool = True
    correct: bool = True
    centre: bool = True


Streams = dict[str, list[Tensor]]  # value -> batches


@torch.no_grad()
def quantise_network(
    packed: Packed,
    chosen: Mapping[str, np.ndarray],
    images: np.ndarray,
    settings: Settings,
    choices: dict[str, Choice],
    progress: Progress,
) -> Packed:
    """The network with the tensors in ``chosen`` (weight -> importance of its rows) quantised.

    ``images`` are preprocessed, (n, C, H, W).  ``choices`` is read and updated: what was
    chosen for each tensor.
    """
    graph = packed.graph
    tensors = constant_tensors(packed.network())
    batches = [as_input(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    then: Streams = {name: batches for name in graph.inputs}
    now: Streams = dict(then)
    forms: dict[str, Form] = {}
    changed = dict(tensors)
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    with progress.bar("quantising", len(chosen)) as bar:
        for i, node in enumerate(graph.nodes):
            weight = node.inputs[1] if node.op in ("Conv", "Gemm") else ""
            if weight in chosen and weight not in forms:
                layer = _Layer(graph, node, tensors, then, now)
                forms |= layer.quantised(chosen[weight], settings, choices)
                for name in forms:
                    changed[name] = torch.from_numpy(np.array(forms[name].dense()))
                before = then.get(node.inputs[0])
                bias = node.inputs[2] if len(node.inputs) > 2 else ""
                if before is not None:
                    _run(node, tensors, then)
                    _run(node, changed, now)
                    if bias in graph.tensors and settings.correct:
                        form = _corrected(node, changed[bias], then, now, settings)
                        _shift(node, now, torch.from_numpy(form.dense()) - changed[bias])
                        forms[bias], changed[bias] = form, torch.from_numpy(form.dense())
                bar.advance(1, weight)
            else:
                _run(node, tensors, then)
                _run(node, changed, now)
            for name in set(node.inputs):
                if name and last_use[name] == i and name not in graph.outputs:
                    then.pop(name, None), now.pop(name, None)
    return packed.with_forms(forms)


def _run(node: Node, tensors: Mapping[str, Tensor], streams: Streams) -> None:
    """One operator on all batches."""
    some = next((n for n in node.inputs if n in streams), None)
    count = len(streams[some]) if some else 1
    streams[node.outputs[0]] = [
        EXECUTORS[node.op](
            [None if not n else streams[n][b] if n in streams else tensors[n] for n in node.inputs],
            node.settings,
        )
        for b in range(count)
    ]


def _corrected(
    node: Node, bias: Tensor, then: Streams, now: Streams, settings: Settings
) -> Quantised:
    """The bias that gives every channel its mean back, quantised."""
    goal, found = (_mean(node, streams[node.outputs[0]]) for streams in (then, now))
    return quantised_bias(bias.double().numpy() + goal - found, settings.bias_bits)


def _mean(node: Node, outputs: list[Tensor]) -> np.ndarray:
    total = sum(channels_last(node, y).double().sum(0) for y in outputs)
    return (total / sum(channels_last(node, y).shape[0] for y in outputs)).numpy()  # type: ignore[union-attr]


def _shift(node: Node, streams: Streams, by: Tensor) -> None:
    shape = (-1, 1, 1) if node.op == "Conv" else (-1,)
    name = node.outputs[0]
    streams[name] = [y + by.reshape(shape) for y in streams[name]]


def quantised_bias(bias: np.ndarray, bits: int) -> Quantised:
    """Levels of so many bits, the largest for the largest magnitude.

    >>> quantised_bias(np.array([1.27, -0.5]), 8).levels
    array([127, -50], dtype=int8)
    """
    largest = float(np.abs(bias).max(initial=0.0))
    step = largest / (2 ** (bits - 1) - 1) if largest > 0 else 1.0
    return Quantised(np.rint(bias / np.float32(step)).astype(np.int32), step)


@dataclass(frozen=True)
class _Layer:
    """A layer to quantise, between the two networks."""

    graph: Graph
    node: Node
    tensors: Mapping[str, Tensor]
    then: Streams
    now: Streams

    def quantised(
        self, importance: np.ndarray, settings: Settings, choices: dict[str, Choice]
    ) -> dict[str, Form]:
        """The forms of its weights and of its bias."""
        name = self.node.inputs[1]
        weights = self.tensors[name].double().contiguous().numpy()
        bias = self.node.inputs[2] if len(self.node.inputs) > 2 else ""
        centre = settings.centre and settings.correct and bias in self.graph.tensors
        hessian, target = self._statistics(weights, centre, settings.compensate)
        made = quantise_layer(
            target,
            Sensitivity(hessian, importance),
            settings.lam,
            settings.states,
            choices.get(name),
        )
        choices[name] = made.choice
        forms: dict[str, Form] = {name: made.form}
        if bias in self.graph.tensors:
            forms[bias] = quantised_bias(self.tensors[bias].double().numpy(), settings.bias_bits)
        return forms

    def _statistics(
        self, weights: np.ndarray, centre: bool, compensate: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """H (groups, columns, columns), or its diagonal for very wide layers; and the target."""
        wide = int(np.prod(weights.shape[1:])) > LARGEST_HESSIAN
        moments = _Moments(wide)
        source = self.node.inputs[0]
        thin = self._thinning(weights.shape)
        for i, (old, new) in enumerate(zip(self.then[source], self.now[source], strict=True)):
            for part in _parts(new.shape, weights.shape, thin):
                x = seen_by(self.node, new[part], weights.shape, thin, i)
                y = seen_by(self.node, old[part], weights.shape, thin, i) if compensate else x
                moments.add(x, y)
        hessian, cross = moments.result(centre)
        if wide or not compensate:
            return hessian, weights
        return hessian, _target(weights, hessian, cross)

    def _thinning(self, weights: tuple[int, ...]) -> int:
        """How many positions a convolution has for one that is looked at, along one axis."""
        if self.node.op != "Conv":
            return 1
        images = sum(len(x) for x in self.now[self.node.inputs[0]])
        height, width = self.graph.shapes()[self.node.outputs[0]][2:]
        columns = int(np.prod(weights[1:]))
        wanted = max(SAMPLES * columns / images, 1.0)
        return max(1, min(int((height * width / wanted) ** 0.5), height // 2, width // 2))


def _parts(shape: torch.Size, weights: tuple[int, ...], thin: int) -> list[slice]:
    """Slices of a batch whose im2col matrices are not too large."""
    positions = int(np.prod(shape[2:])) // thin**2 if len(shape) == 4 else 1
    entries = positions * int(np.prod(weights[1:]))
    size = max(1, MOST_ENTRIES // max(entries, 1))
    return [slice(i, i + size) for i in range(0, shape[0], size)]


class _Moments:
    """Sums over samples of x, y, x x^T and y x^T."""

    def __init__(self, diagonal: bool) -> None:
        self._diagonal = diagonal
        self._count = 0
        self._sums: list[Tensor] = []

    def add(self, x: Seen, y: Seen) -> None:
        self._count += x.rows.shape[1]
        if self._diagonal:
            square = x.rows.square().sum(1)
            parts = [x.rows.sum(1), y.rows.sum(1), square, square]
        else:
            square = x.moment()
            parts = [x.rows.sum(1), y.rows.sum(1), square, square if y is x else y.moment(x)]
        parts = [part.double() for part in parts]
        if self._sums:
            parts = [a + b for a, b in zip(self._sums, parts, strict=True)]
        self._sums = parts

    def result(self, centre: bool) -> tuple[np.ndarray, np.ndarray]:
        """E[x x^T] and E[y x^T], about the means if ``centre``; a mean diagonal if wide."""
        x, y, square, cross = (part.numpy() / self._count for part in self._sums)
        if self._diagonal:
            return (square - (x**2 if centre else 0)).mean(0).clip(0), cross
        if centre:
            square = square - x[:, :, None] * x[:, None, :]
            cross = cross - y[:, :, None] * x[:, None, :]
        return square, cross


def _target(weights: np.ndarray, hessian: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """argmin over V of E|W y - V x|^2 + ridge |V - W|^2, group by group."""
    groups, columns, _ = hessian.shape
    rows = weights.reshape(groups, -1, columns)
    ridge = RIDGE * np.trace(hessian, axis1=1, axis2=2) / columns + 1e-12
    solved = np.empty_like(rows)
    for g in range(groups):
        extra = ridge[g] * np.eye(columns)
        right = rows[g] @ (cross[g] + extra)
        solved[g] = np.linalg.solve(hessian[g] + extra, right.T).T
    return solved.reshape(weights.shape)
