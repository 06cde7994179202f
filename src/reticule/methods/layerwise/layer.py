"""One layer between two networks: the inputs it was made for, and those that it gets now.

From both come H = E[x x^T] of the inputs x as they are now, and a *target*: the weights
which, from these inputs, best restore the outputs as they were (least squares).  How far
either is believed: :mod:`reticule.methods.layerwise.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reticule.graph import Graph, Node
from reticule.methods.layerwise.evidence import Averages, Moments, target_of
from reticule.methods.quantise.calibration import outputs_of, seen_by, seen_on_average
from reticule.tuning.evidence import believed, trust

MOST_ENTRIES = 1 << 21  # of an im2col matrix at a time: it stays in the cache
SAMPLES = 256  # for each column of a Hessian; more positions are thinned out
LARGEST_HESSIAN = 5000  # columns; wider layers get a diagonal one

Streams = dict[str, list[Tensor]]  # value -> batches
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, and what flows in the two networks.

    ``beside`` names the value that the layer's output is added to (none: ""):
    the layer then also makes up for the error of that.  ``images`` is how many images the
    statistics count as: those that differ.
    """

    graph: Graph
    node: Node
    tensors: Mapping[str, Tensor]
    then: Streams
    now: Streams
    beside: str = ""
    images: int = 1

    @property
    def name(self) -> str:
        """Of its weight tensor."""
        return self.node.inputs[1]

    @property
    def weights(self) -> Matrix:
        return self.tensors[self.name].double().contiguous().numpy()

    @property
    def bias(self) -> str:
        """The name of its bias, or "" where that is none of the network's tensors."""
        name = self.node.inputs[2] if len(self.node.inputs) > 2 else ""
        return name if name in self.graph.tensors else ""

    def statistics(
        self,
        weights: Matrix,
        centre: bool,
        compensate: bool,
        common: float = 0.0,
    ) -> tuple[Matrix, Matrix]:
        """H (groups, columns, columns), or its diagonal for very wide layers; and the target.

        H is that of images to come (:mod:`reticule.methods.layerwise.evidence`).  With
        ``centre`` both are about the means, which the bias takes care of; without
        ``compensate`` the target are the weights themselves.  ``common`` is the share of the
        importance that the positions of an image have in common: by so much, H is that of
        the sum over all positions of an image, and not of each by itself.
        """
        found = self.averages(weights.shape, centre, compensate, common).expected(self.images)
        share = trust(self.images)
        if found.square.ndim < 3 or not compensate or not share:
            return found.square, weights
        target = target_of(weights, found.square, found.cross, found.error)
        return found.square, weights + share * (target - weights)

    def averages(
        self, shape: tuple[int, ...], centre: bool, compensate: bool = True, common: float = 0.0
    ) -> Averages:
        """What :meth:`statistics` is made of, as it was seen: E[x x^T], and E[y x^T] of the
        inputs y as they were."""
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

    def corrected(self, bias: Matrix, made: Matrix) -> Matrix:
        """The bias that gives every channel its mean back, with ``made`` as the weights.

        As far as the images agree in what is missing (:func:`reticule.tuning.evidence.believed`).
        """
        then = self.means()
        now = then if self.then is self.now else self._means(self.now[self.node.inputs[0]])
        groups = len(then)
        old, new = (w.reshape(groups, len(w) // groups, -1) for w in (self.weights, made))
        shifts = then @ old.transpose(0, 2, 1) - now @ new.transpose(0, 2, 1)
        flat = shifts.transpose(1, 0, 2).reshape(then.shape[1], -1)
        return bias + believed(flat + self._lacking, self.images)

    def means(self) -> Matrix:
        """What the layer saw of each image, on average over positions (groups, images, columns)."""
        return self._means(self.then[self.node.inputs[0]])

    def _means(self, batches: list[Tensor]) -> Matrix:
        shape = tuple(self.tensors[self.name].shape)
        parts = [seen_on_average(self.node, x, shape).rows.double() for x in batches]
        return torch.cat(parts, dim=1).numpy()

    @cached_property
    def _lacking(self) -> Matrix | float:
        """What the value beside lacks of each image on average (images, channels)."""
        if not self.beside or self.then is self.now:
            return 0.0
        pairs = zip(self.then[self.beside], self.now[self.beside], strict=True)
        lost = [(a - b).double() for a, b in pairs]
        conv = self.node.op == "Conv"
        parts = [x.flatten(2).mean(2) if conv else _rows_of(x).mean(1) for x in lost]
        return torch.cat(parts).numpy()

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


def _rows_of(x: Tensor) -> Tensor:
    """A linear layer's input or output as (images, rows of each, features)."""
    return x.reshape(len(x), -1, x.shape[-1])
