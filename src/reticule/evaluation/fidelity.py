"""How near a network's answers are to those of another one, without labels.

The *error* of an output is the root of the mean squared difference, in percent of the standard
deviation of the exact output over the same inputs; that of a network the error of its worst
output.  An error of 100 % is what a constant has: nothing of the answers is left.

>>> import numpy as np
>>> exact = np.array([[0.0], [2.0], [4.0], [6.0]])
>>> found = Comparison("y", None)
>>> found.add(exact, exact + 0.1)
>>> found.result().error_percent.__round__(2), found.result().largest.__round__(2)
(4.47, 0.1)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reticule.evaluation.task import scores_axis
from reticule.graph import Graph


@dataclass(frozen=True)
class Fidelity:
    """One output: error in percent, largest single difference, and signal-to-noise in decibels.

    ``agreement`` is the percentage of equal arg-max, where the output has one score for each
    class on an axis.  Error and difference are infinite where an answer is not finite, and the
    signal-to-noise where nothing differs.
    """

    output: str
    error_percent: float
    largest: float
    snr_db: float
    agreement: float | None

    def to_json(self) -> dict[str, str | float | None]:
        """As plain data; what is not finite is null."""
        return {
            "output": self.output,
            "error_percent": _finite(self.error_percent),
            "largest": _finite(self.largest),
            "snr_db": _finite(self.snr_db),
            "agreement": self.agreement if self.agreement is None else _finite(self.agreement),
        }

    def rounded(self) -> dict[str, str | float | None]:
        """As :meth:`to_json`, with as many digits as mean something: what a file keeps."""
        return {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in self.to_json().items()
        }


def worst_error(fidelity: Iterable[Fidelity]) -> float | None:
    """The error of a network in percent: that of its worst output; None without any."""
    return max((each.error_percent for each in fidelity), default=None)


class Comparison:
    """Gathers what one output's fidelity is made of, batch by batch."""

    def __init__(self, output: str, axis: int | None) -> None:
        self._output, self._axis = output, axis
        self._count = 0
        self._mean = self._spread = 0.0  # of the exact values: mean, sum of squared deviations
        self._lost = 0.0  # sum of squared differences
        self._largest = 0.0
        self._equal = self._places = 0
        self._broken = False

    def add(self, exact: np.ndarray, found: np.ndarray) -> None:
        """Answers of both networks to the same inputs: arrays of one shape, batch first."""
        if not exact.size:
            return
        a, b = exact.astype(np.float64), found.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))  # infinities and NaN in both are no error
        with np.errstate(all="ignore"):
            apart = np.where(same, 0.0, a - b)
        usable = np.isfinite(a)
        self._broken |= not np.isfinite(apart).all()
        self._lost += float(np.square(apart[np.isfinite(apart)]).sum())
        self._largest = max(self._largest, float(np.abs(apart).max(initial=0.0)))
        self._add_spread(a[usable])
        if self._axis is not None:
            self._equal += int((a.argmax(self._axis) == b.argmax(self._axis)).sum())
            self._places += exact.size // exact.shape[self._axis]

    def _add_spread(self, values: np.ndarray) -> None:
        """Mean and squared deviations of what was there and what comes (Chan et al., 1983)."""
        if not values.size:
            return
        mean, total = float(values.mean()), self._count + values.size
        shift = mean - self._mean
        self._spread += float(np.square(values - mean).sum())
        self._spread += shift**2 * self._count * values.size / total
        self._mean += shift * values.size / total
        self._count = total

    def result(self) -> Fidelity:
        """The fidelity so far."""
        count = max(self._count, 1)
        lost = math.sqrt(self._lost / count)
        power = math.sqrt(self._spread / count + self._mean**2)
        spread = math.sqrt(self._spread / count)
        if spread <= 1e-6 * power:  # it never varies: nothing but its size is there to compare
            spread = power
        error = 100.0 * lost / spread if spread > 0 else (0.0 if lost == 0 else math.inf)
        snr = 20.0 * math.log10(power / lost) if lost > 0 and power > 0 else math.inf
        if self._broken:
            error, snr = math.inf, -math.inf
        elif lost > 0 and power == 0:
            snr = -math.inf
        agreement = 100.0 * self._equal / self._places if self._places else None
        largest = math.inf if self._broken else self._largest
        return Fidelity(self._output, error, largest, snr, agreement)


def fidelity_of(
    graph: Graph, pairs: Iterable[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]
) -> tuple[Fidelity, ...]:
    """Fidelity of every output, from batches of (exact answers, answers), one array an output."""
    compared = [Comparison(name, scores_axis(graph, name)) for name in graph.outputs]
    for exact, found in pairs:
        for comparison, a, b in zip(compared, exact, found, strict=True):
            comparison.add(a, b)
    return tuple(comparison.result() for comparison in compared)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
