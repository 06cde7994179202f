"""Inputs that no stage may learn from, and what the original network says to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reticule.data import Data
from reticule.evaluation.fidelity import Fidelity, fidelity_of, worst_error
from reticule.forms import Packed
from reticule.graph import Network
from reticule.tuning.likelihood import spreads_of
from reticule.tuning.running import Inputs, answers, constant_tensors, evenly

WORK = 2e10  # multiply-accumulates of one look
FEWEST, MOST = 16, 512
MOST_BYTES = 1 << 28  # of inputs and answers
FREEDOM = 4.0  # degrees of freedom: where one input has nearly all of the error
ONE_IN_TEN = 1.2816  # standard deviations


@dataclass(frozen=True)
class Witness:
    """Inputs of the ``original`` network, drawn when they are first needed.

    ``generated`` says that they are no data of the user's.
    """

    original: Packed
    draw: Callable[[], Inputs]
    generated: bool

    @classmethod
    def from_data(cls, original: Network, data: Data) -> Witness:
        """Some of the data, evenly spaced, as many as one look can afford."""

        def draw() -> Inputs:
            sample = evenly(data, witnesses(original))
            return sample.inputs(np.arange(len(sample)))

        return cls(Packed.of(original), draw, generated=False)

    @cached_property
    def inputs(self) -> Inputs:
        """One array (n, ...) for each of the network's inputs."""
        return self.draw()

    @cached_property
    def exact(self) -> tuple[np.ndarray, ...]:
        """What the original says to them, one array for each output."""
        return self.answers(self.original)

    def answers(self, packed: Packed) -> tuple[np.ndarray, ...]:
        """What a network says to the inputs."""
        return answers(packed.graph, constant_tensors(packed.network()), self.inputs)

    def fidelity(self, packed: Packed) -> tuple[Fidelity, ...]:
        """How near a network's answers are to the original's, output by output."""
        return fidelity_of(packed.graph, [(self.exact, self.answers(packed))])

    def error(self, packed: Packed) -> float:
        """The error of a network in percent: that of its worst output."""
        if self.generated and packed.same_weights(self.original):
            return 0.0  # nothing needs to be generated to know that
        return worst_error(self.fidelity(packed)) or 0.0

    def cautious_error(self, packed: Packed) -> float:
        """The error that other inputs will hardly exceed: see :func:`bounded`."""
        return max(
            _cautious(exact, found, spread)
            for exact, found, spread in zip(
                self.exact, self.answers(packed), spreads_of(self.exact), strict=True
            )
        )


def _cautious(exact: np.ndarray, found: np.ndarray, spread: float) -> float:
    lost = (exact.astype(np.float64) - found).reshape(len(exact), -1)
    squares = np.square(lost).mean(1) / spread**2
    if not np.isfinite(squares).all():
        return math.inf
    return 100.0 * math.sqrt(bounded(squares))


def bounded(squares: np.ndarray) -> float:
    """What the mean of squares (n,) will not exceed on other inputs, nine times out of ten.

    Their sum is taken as distributed like chi square, with as many degrees of freedom as its
    variance tells (Satterthwaite, "An approximate distribution of estimates of variance
    components", 1946), :data:`FREEDOM` at least; the quantile is that of Wilson and
    Hilferty ("The distribution of chi-square", 1931).

    >>> few, many = np.array([1.0, 2.0, 1.5]), np.tile([1.0, 2.0, 1.5], 400)
    >>> round(bounded(few), 2), round(bounded(many), 2)
    (1.97, 1.52)
    """
    mean = float(squares.mean())
    if not mean:
        return 0.0
    spread = float(squares.var(ddof=1)) / mean**2 if len(squares) > 1 else math.inf
    freedom = max(2 * len(squares) / max(spread, 1e-9), FREEDOM)
    part = 2 / (9 * freedom)
    return mean / (1 - part - ONE_IN_TEN * math.sqrt(part)) ** 3


def witnesses(network: Network) -> int:
    """How many inputs one look can afford, by the size of the network."""
    graph = network.graph
    macs = max(sum(graph.macs().values()), 1)
    shapes = graph.shapes()
    values = sum(math.prod(shapes[name][1:]) for name in (*graph.inputs, *graph.outputs))
    most = max(1, min(MOST, MOST_BYTES // (4 * max(values, 1))))
    return min(most, int(np.clip(WORK / macs, FEWEST, MOST)))
