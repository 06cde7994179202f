"""One layer between two networks: the inputs it was made for, and those that it gets now.

From both come H = E[x x^T] of the inputs x as they are now, and a *target*: the weights
which, from these inputs, best restore the outputs as they were (least squares).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from reticule.graph import Graph, Node
from reticule.methods.quantise.calibration import (
    Seen,
    channels_last,
    outputs_of,
    seen_by,
    seen_on_average,
)

MOST_ENTRIES = 1 << 21  # of an im2col matrix at a time: it stays in the cache
SAMPLES = 256  # for each column of a Hessian; more positions are thinned out
RIDGE = 0.05  # of the mean diagonal: how much a target may lean on single images
LARGEST_HESSIAN = 5000  # columns; wider layers get a diagonal one

Streams = dict[str, list[Tensor]]  # value -> batches


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, and what flows in the two networks.

    ``beside`` names the value that the layer's output is added to (none: ""):
    the layer then also makes up for the error of that.
    """

    graph: Graph
    node: Node
    tensors: Mapping[str, Tensor]
    then: Streams
    now: Streams
    beside: str = ""

    @property
    def name(self) -> str:
        """Of its weight tensor."""
        return self.node.inputs[1]

    @property
    def weights(self) -> np.ndarray:
        return self.tensors[self.name].double().contiguous().numpy()

    @property
    def bias(self) -> str:
        """The name of its bias, or "" where that is none of the network's tensors."""
        name = self.node.inputs[2] if len(self.node.inputs) > 2 else ""
        return name if name in self.graph.tensors else ""

    def statistics(
        self,
        weights: np.ndarray,
        centre: bool,
        compensate: bool,
        common: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """H (groups, columns, columns), or its diagonal for very wide layers; and the target.

        With ``centre`` both are about the means, which the bias takes care of; without
        ``compensate`` the target are the weights themselves.  ``common`` is the share of the
        importance that the positions of an image have in common: by so much, H is that of
        the sum over all positions of an image, and not of each by itself.
        """
        found = self.averages(weights.shape, centre, compensate, common)
        if found.square.ndim < 3 or not compensate:
            return found.square, weights
        return found.square, target_of(weights, found.square, found.cross, found.error)

    def averages(
        self, shape: tuple[int, ...], centre: bool, compensate: bool = True, common: float = 0.0
    ) -> Averages:
        """What :meth:`statistics` is made of: E[x x^T], and E[y x^T] of the inputs y as were."""
        wide = int(np.prod(shape[1:])) > LARGEST_HESSIAN
        each, whole = Moments(wide), Moments(False)
        source = self.node.inputs[0]
        thin = self._thinning(shape)
        beside = self.beside if compensate and not wide else ""
        common = 0.0 if wide or self.node.op != "Conv" else common
        for i, (old, new) in enumerate(zip(self.then[source], self.now[source], strict=True)):
            lost = self.then[beside][i] - self.now[beside][i] if beside else None
            for part in _parts(new.shape, shape, thin):
                x = seen_by(self.node, new[part], shape, thin, i)
                y = seen_by(self.node, old[part], shape, thin, i) if compensate else x
                error = None
                if lost is not None:
                    error = outputs_of(self.node, lost[part], len(x.rows), thin, i)
                each.add(x, y, error)
            if common:
                x = seen_on_average(self.node, new, shape)
                y = seen_on_average(self.node, old, shape) if compensate else x
                error = None
                if lost is not None:
                    mean = lost.mean((2, 3), keepdim=True)
                    error = outputs_of(self.node, mean, len(x.rows))
                whole.add(x, y, error)
        found = each.result(centre)
        if common:
            positions = int(np.prod(self.graph.shapes()[self.node.outputs[0]][2:]))
            found = found.mixed(1 - common, whole.result(centre), common * positions)
        return found

    def corrected(self, bias: np.ndarray) -> np.ndarray:
        """The bias that gives every channel its mean back."""
        output = self.node.outputs[0]
        goal, found = self._mean(self.then[output]), self._mean(self.now[output])
        if self.beside:
            goal = goal + self._mean(self.then[self.beside]) - self._mean(self.now[self.beside])
        return bias + goal - found

    def _mean(self, values: list[Tensor]) -> np.ndarray:
        total = sum(channels_last(self.node, y).double().sum(0) for y in values)
        count = sum(channels_last(self.node, y).shape[0] for y in values)
        return (total / count).numpy()  # type: ignore[union-attr]

    def _thinning(self, weights: tuple[int, ...]) -> int:
        """How many positions a convolution has for one that is looked at, along one axis."""
        if self.node.op != "Conv":
            return 1
        images = sum(len(x) for x in self.now[self.node.inputs[0]])
        height, width = self.graph.shapes()[self.node.outputs[0]][2:]
        columns = int(np.prod(weights[1:]))
        wanted = max(SAMPLES * columns / images, 1.0)
        return max(1, min(int((height * width / wanted) ** 0.5), height // 2, width // 2))


def _parts(shape: tuple[int, ...], weights: tuple[int, ...], thin: int) -> list[slice]:
    """Slices of a batch whose im2col matrices are not too large."""
    positions = int(np.prod(shape[2:])) // thin**2 if len(shape) == 4 else 1
    entries = positions * int(np.prod(weights[1:]))
    size = max(1, MOST_ENTRIES // max(entries, 1))
    return [slice(i, i + size) for i in range(0, shape[0], size)]


class Moments:
    """Sums over samples of x, y, x x^T and y x^T; and of e x^T for errors e, if there are any."""

    def __init__(self, diagonal: bool) -> None:
        self._diagonal = diagonal
        self._count = 0
        self._sums: list[Tensor] = []

    def add(self, x: Seen, y: Seen, error: Seen | None = None) -> None:
        """``error`` is what the outputs lack at these samples: (groups, samples, rows)."""
        self._count += x.rows.shape[1]
        if self._diagonal:
            square = x.rows.square().sum(1)
            parts = [x.rows.sum(1), y.rows.sum(1), square, square]
        else:
            square = x.moment()
            parts = [x.rows.sum(1), y.rows.sum(1), square, square if y is x else y.moment(x)]
        if error is not None:
            parts += [error.rows.sum(1), error.moment(x)]
        parts = [part.double() for part in parts]
        if self._sums:
            parts = [a + b for a, b in zip(self._sums, parts, strict=True)]
        self._sums = parts

    def result(self, centre: bool) -> Averages:
        """About the means if ``centre``; a mean diagonal if wide."""
        x, y, square, cross, *more = (part.numpy() / self._count for part in self._sums)
        if self._diagonal:
            return Averages((square - (x**2 if centre else 0)).mean(0).clip(0), cross)
        error = more[1] if more else None
        if centre:
            square = square - x[:, :, None] * x[:, None, :]
            cross = cross - y[:, :, None] * x[:, None, :]
            if error is not None:
                error = error - more[0][:, :, None] * x[:, None, :]
        return Averages(square, cross, error, x, y)


@dataclass(frozen=True)
class Averages:
    """E[x x^T] or its diagonal, E[y x^T] and E[e x^T]; E[x] and E[y] (groups, columns)."""

    square: np.ndarray
    cross: np.ndarray
    error: np.ndarray | None = None
    mean: np.ndarray | None = None
    mean_then: np.ndarray | None = None

    def mixed(self, own: float, other: Averages, share: float) -> Averages:
        """``own`` times this plus ``share`` times the other."""
        error = None
        if self.error is not None and other.error is not None:
            error = own * self.error + share * other.error
        return Averages(
            own * self.square + share * other.square, own * self.cross + share * other.cross, error
        )


def target_of(
    weights: np.ndarray,
    hessian: np.ndarray,
    cross: np.ndarray,
    error: np.ndarray | None = None,
    ridge: float = RIDGE,
) -> np.ndarray:
    """argmin over V of E|W y + e - V x|^2 + ridge |V - W|^2, group by group.

    ``cross`` is E[y x^T], ``error`` E[e x^T] (groups, rows, columns); ``ridge`` counts in
    mean diagonals of H.
    """
    groups, columns, _ = hessian.shape
    rows = weights.reshape(groups, -1, columns)
    ridges = ridge * np.trace(hessian, axis1=1, axis2=2) / columns + 1e-12
    solved = np.empty_like(rows)
    for g in range(groups):
        extra = ridges[g] * np.eye(columns)
        right = rows[g] @ (cross[g] + extra)
        if error is not None:
            right = right + error[g]
        solved[g] = np.linalg.solve(hessian[g] + extra, right.T).T
    return solved.reshape(weights.shape)
