"""One tensor quantised: transform, step and levels that cost least together."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from reticule import _native
from reticule.codec.arrays import Layout
from reticule.codec.quantiser import (
    dct_hessian,
    factor,
    fit_step,
    forward_dct,
    rate_distortion,
)
from reticule.codec.rates import REACH, Rates, RateSource, indices_and_quantisers, row_groups
from reticule.forms import Form, Quantised, Spectral

DAMPING = 0.03  # of the mean of H's diagonal, added to it
BALANCE = 0.6  # of the theoretical lambda for a step; see reticule.codec.quantiser.exchange
_NOISE = 0.26  # squared error of a trellis, in steps squared
_SCALAR_NOISE = 1 / 12
_COUPLED = 1 << 30  # most products of a weight and those whose errors it makes up for
_SEARCHED = 1 << 16  # weights that the search for a step looks at
START = 0.8  # of the expected step: weights do not matter alike, and those that do decide
_FACTORS = 1.25  # ratio of two steps that are compared
_MOST_TRIALS = 5
_PRESET = 0
_NO_MASK = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Sensitivity:
    """What errors of one tensor cost: 1/2 sum over rows r of importance[r] e[r]^T H e[r].

    ``hessian`` is (groups, columns, columns), or (columns,) for a diagonal.
    """

    hessian: np.ndarray
    importance: np.ndarray

    def loss(self, errors: np.ndarray) -> float:
        """Of errors in the tensor's shape."""
        rows = errors.reshape(len(errors), -1)
        if self.hessian.ndim == 1:
            squares = (rows**2) @ self.hessian
        else:
            split = rows.reshape(len(self.hessian), -1, rows.shape[1])
            squares = np.sum((split @ self.hessian) * split, axis=2).ravel()
        return 0.5 * float(self.importance @ squares)


@dataclass(frozen=True)
class Choice:
    """How a tensor is quantised: in which domain, and with which step over the expected one."""

    spectral: bool
    factor: float


@dataclass(frozen=True)
class Made:
    """A quantised tensor and what it costs: loss + lambda * bits."""

    form: Form
    choice: Choice
    cost: float


class Target:
    """The weights of one tensor and their sensitivity, in one domain."""

    def __init__(self, weights: np.ndarray, sensitivity: Sensitivity, spectral: bool) -> None:
        hessian = sensitivity.hessian
        self.spectral = spectral
        self.weights = forward_dct(weights) if spectral else weights
        if spectral and hessian.ndim > 1:
            hessian = dct_hessian(hessian, *weights.shape[-2:])
        self.factor = factor(hessian, DAMPING, max(64, _COUPLED // max(weights.size, 1)))
        self.importance = 0.5 * sensitivity.importance
        self.largest = float(np.abs(self.weights).max(initial=0.0))

    def expected_step(self, lam: float, states: int) -> float:
        """The step that suits lambda if all weights matter as they do on average."""
        matters = float(self.importance.mean() * self.factor.pivots.mean())
        noise = _NOISE if states else _SCALAR_NOISE
        return sqrt(lam / max(BALANCE * 2 * log(2) * noise * matters, 1e-300))

    def levels(self, step: float, lam: float, states: int, exact: bool) -> tuple[np.ndarray, float]:
        """Levels and their cost; ``exact`` asks the real coder for its rates."""
        return rate_distortion(
            self.weights,
            step,
            lam=lam,
            states=states,
            hessian=self.factor,
            rows_importance=self.importance,
            coder=(lambda levels: self.rates(levels, states)) if exact else None,
            passes=3 if exact else 2,
        )

    def rates(self, levels: np.ndarray, states: int) -> RateSource:
        """What the real coder would take for each index beside these levels."""
        return CoderRates(levels, states)

    def fitted(self, levels: np.ndarray, step: float) -> float:
        """The step that suits the levels best, now that they are known."""
        if not np.any(levels):
            return step
        return fit_step(self.weights, levels, hessian=self.factor, rows_importance=self.importance)

    def sample(self) -> Target:
        """Some of the rows, where all are more than a search for a step needs."""
        rows = max(1, _SEARCHED // (self.weights.size // len(self.weights)))
        if len(self.weights) <= rows or len(self.factor.pivots) > 1:
            return self
        part = copy(self)
        chosen = np.linspace(0, len(self.weights) - 1, rows).round().astype(np.int64)
        part.weights, part.importance = self.weights[chosen], self.importance[chosen]
        return part

    def clipped(self, step: float) -> float:
        """A step that is neither so large nor so small that float32 suffers."""
        return float(np.clip(step, self.largest * 2.0**-20, self.largest * 4))


def quantise_layer(
    weights: np.ndarray,
    sensitivity: Sensitivity,
    lam: float,
    states: int,
    known: Choice | None = None,
) -> Made:
    """The form of a tensor (rows first) in which loss + lam * bits is small.

    The transform and the step are chosen by that cost, unless ``known`` says what was chosen
    at another lambda: the step that suits follows from lambda.
    """
    if not np.any(weights):
        return Made(Quantised(np.zeros(weights.shape, np.int8), 1.0), Choice(False, 1.0), 0.0)
    choice, target = prepared(weights, sensitivity, lam, states, known)
    return quantise_target(target, choice, lam, states)


def prepared(
    weights: np.ndarray,
    sensitivity: Sensitivity,
    lam: float,
    states: int,
    known: Choice | None = None,
) -> tuple[Choice, Target]:
    """How a tensor is quantised at this lambda, or as is ``known``; and what serves all others."""
    if known is None:
        return _searched(weights, sensitivity, lam, states)
    return known, Target(weights, sensitivity, known.spectral)


def quantise_target(
    target: Target, choice: Choice, lam: float, states: int, exact: bool = True
) -> Made:
    """The form of what was :func:`prepared`; unless ``exact``, by estimated rates."""
    step = target.clipped(choice.factor * target.expected_step(lam, states))
    levels, cost = target.levels(step, lam, states, exact=exact)
    form: Form = Quantised(levels, target.fitted(levels, step), states)
    return Made(Spectral(form) if choice.spectral else form, choice, cost)


def _searched(
    weights: np.ndarray, sensitivity: Sensitivity, lam: float, states: int
) -> tuple[Choice, Target]:
    """The choice that costs least; the second transform starts from the first's step."""
    best: tuple[float, Choice, Target] | None = None
    for spectral in [True, False] if has_kernels(weights) else [False]:
        target = Target(weights, sensitivity, spectral)
        start = best[1].factor if best else START
        cost, factor = best_step(target.sample(), lam, states, start)
        if best is None or cost < best[0]:
            best = cost, Choice(spectral, factor), target
    assert best is not None
    return best[1], best[2]


def has_kernels(weights: np.ndarray) -> bool:
    return weights.ndim == 4 and 1 < max(weights.shape[2:]) <= 32


def best_step(target: Target, lam: float, states: int, start: float) -> tuple[float, float]:
    """(cost, factor) of the best step near a start, by hill climbing."""
    costs: dict[int, float] = {}

    def cost(turn: int) -> float:
        if turn not in costs:
            step = start * _FACTORS**turn * target.expected_step(lam, states)
            costs[turn] = target.levels(target.clipped(step), lam, states, exact=False)[1]
        return costs[turn]

    at = 0
    while len(costs) < _MOST_TRIALS:
        better = min((at - 1, at, at + 1), key=cost)
        if better == at:
            break
        at = better
    at = min(costs, key=lambda turn: costs[turn])
    return costs[at], start * _FACTORS**at


class CoderRates:
    """What each index would cost the real coder beside these levels, row group by row group.

    It is 52 bytes for each weight, too much to hold for the largest layers.  With a ``mask``
    (uint8, flat) rates are of the weights under it; those of the others mean nothing.
    """

    def __init__(self, levels: np.ndarray, states: int, mask: np.ndarray = _NO_MASK) -> None:
        self._indices, _ = indices_and_quantisers(levels, states)
        self._layout = Layout.of(levels.shape)
        self._states, self._mask = states, mask
        self._coder = _native.ContextEncoder(_PRESET)

    def part(self, first: int, last: int) -> Rates:
        """Rates of the weights ``first`` to ``last``: whole rows, after those asked for before."""
        layout, at = self._layout, slice(first, last)
        where = (
            (last - first) // layout.columns,
            layout.channels,
            layout.height,
            layout.width,
        )
        rates = np.zeros((last - first, 2, 2 * REACH + 1), np.uint16)
        self._coder.rates(
            self._indices[at], self._mask[at], *where, self._states, True, rates.reshape(-1)
        )
        return Rates(rates)


def coder_rates(levels: np.ndarray, states: int, mask: np.ndarray = _NO_MASK) -> np.ndarray:
    """All of :class:`CoderRates` at once: (weights, 2, 13) uint16 in 1/256 bit."""
    source, columns = CoderRates(levels, states, mask), Layout.of(levels.shape).columns
    groups = row_groups(levels.shape)
    return np.concatenate([source.part(a * columns, b * columns).tables for a, b in groups])
