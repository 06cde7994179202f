"""Weights into levels: scalar or trellis-coded, with rate-distortion decisions.

A level is chosen for what it costs altogether: the error it makes, weighted by what
that error does to the layer's output, plus lambda times the bits it takes.  The
trellis search (Viterbi) is native; here are the parts around it.

* :func:`quantise_tensor`: levels for given rates
* :func:`rate_distortion`: levels and the coder's rates in turn, until they fit each other
* :func:`exchange`, :func:`choose_step`, :func:`fit_step`: lambda for a step, and steps
* :mod:`~reticule.codec.second_order`: which errors matter, also in the domain of frequencies
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np

from reticule import _native
from reticule.codec.parallel import in_order
from reticule.codec.rates import (
    Rates,
    RateSource,
    columns_of,
    estimate,
    observe,
    row_groups,
)
from reticule.codec.second_order import Factor as Factor
from reticule.codec.second_order import dct_hessian as dct_hessian
from reticule.codec.second_order import factor as factor
from reticule.codec.second_order import forward_dct as forward_dct
from reticule.codec.second_order import whiten
from reticule.forms.quantised import LARGEST_LEVEL, TRELLIS_STATES

# Mean squared error at high rates, in steps squared.  A trellis has half its levels at each
# weight, 2 steps apart, and gains 1.1 to 1.3 dB over rounding to those.
_NOISE = {0: 1 / 12, 8: 0.262, 32: 0.253, 64: 0.250}


def quantise_tensor(
    weights: np.ndarray,
    step: float,
    *,
    lam: float,
    states: int = 8,
    hessian: np.ndarray | Factor | None = None,
    rows_importance: np.ndarray | None = None,
    rates: np.ndarray | RateSource | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Levels (int32, in the tensor's shape) with little distortion + ``lam`` * bits.

    ``states``: 0 for one uniform quantiser, or 8, 32 or 64 for a trellis: the levels then
    follow one of its paths.  ``hessian``: see :func:`factor`; errors of earlier
    columns of a row are made up for by later ones, for every surviving path by itself.
    ``rows_importance`` (rows,) multiplies the distortion of each row.  ``rates``: 1/256 bits
    (weights, 2, 13) uint16 of the indices -6 to 6 in both quantisers, or :class:`Rates`; an
    estimate from the weights' scales if None.  ``lam`` has the distortion's unit per bit;
    :func:`exchange` gives a value that fits a step.  Row groups are searched on so many
    ``threads`` at once (None: one for each processor); the levels are the same for any number.

    ValueError: weights that are not finite or too large for the step, or arguments that do
    not fit the weights.

    >>> weights = np.array([[0.52, -0.01, 0.26]], np.float32)
    >>> quantise_tensor(weights, 0.25, lam=0, states=0)
    array([[2, 0, 1]], dtype=int32)
    """
    search = _Search.of(weights, step, lam, states, hessian, rows_importance, threads)
    return search.levels(Rates(rates) if isinstance(rates, np.ndarray) else rates)[0]


@dataclass(frozen=True)
class _Search:
    """Weights (float32) and what their errors cost, checked."""

    values: np.ndarray
    step: float
    lam: float
    states: int
    second: Factor | None
    importance: np.ndarray  # (rows,)
    share: np.ndarray  # the factor of each row
    threads: int | None

    @classmethod
    def of(
        cls,
        weights: np.ndarray,
        step: float,
        lam: float,
        states: int,
        hessian: np.ndarray | Factor | None,
        importance: np.ndarray | None,
        threads: int | None,
    ) -> _Search:
        if states not in TRELLIS_STATES:
            raise ValueError(f"there is no trellis of {states} states")
        values = np.ascontiguousarray(weights, np.float32).reshape(np.shape(weights))
        _check(values, step)
        columns = columns_of(values.shape)
        rows = values.size // max(columns, 1)
        second = hessian if isinstance(hessian, Factor) or hessian is None else factor(hessian)
        share = _shares(rows, columns, second) if values.size else np.zeros(0, np.uint32)
        importance = np.ones(rows) if importance is None else np.asarray(importance, np.float64)
        if values.size and importance.shape != (rows,):
            raise ValueError(f"{importance.shape} importances for {rows} rows")
        return cls(values, float(step), float(lam), states, second, importance, share, threads)

    def levels(self, rates: RateSource | None) -> tuple[np.ndarray, float]:
        """Levels (int32), and distortion + lam * bits by these rates, or by an estimate."""
        levels = np.zeros(self.values.shape, np.int32)
        cost = 0.0
        if not self.values.size:
            return levels, cost
        source = self.estimate() if rates is None else rates
        columns = columns_of(self.values.shape)
        # The rates of a row group are asked for while those before it are being searched.
        rated = (
            (first, last, source.part(first * columns, last * columns))
            for first, last in row_groups(self.values.shape)
        )
        flat = levels.reshape(-1)
        for part in in_order(lambda group: self._group(flat, *group), rated, self.threads):
            cost += part
        return levels, cost

    def estimate(self) -> Rates:
        """Rates to begin with."""
        return estimate(self.values, self.step, self.states)

    def _group(self, levels: np.ndarray, first: int, last: int, rates: Rates) -> float:
        """Fill the levels of some rows, and return what they cost."""
        second, columns = self.second, columns_of(self.values.shape)
        at = slice(first * columns, last * columns)
        return _native.quantise(
            self.values.reshape(-1)[at],
            last - first,
            columns,
            self.step,
            self.lam,
            self.states,
            self.importance[first:last],
            _flat(None if second is None else second.pivots, np.float64),
            _flat(None if second is None else second.spread, np.float32),
            second.block if second else 1,
            self.share[first:last] if second else self.share,
            _flat(rates.tables, np.uint16),
            _flat(rates.classes, np.uint16),
            levels[at],
        )


def _check(values: np.ndarray, step: float) -> None:
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"the step must be a positive number, not {step}")
    largest = float(np.abs(values).max(initial=0))
    if not largest < step * LARGEST_LEVEL / 2:
        raise ValueError(f"weights up to {largest:g} are not finite, or too large for {step:g}")


def _shares(rows: int, columns: int, second: Factor | None) -> np.ndarray:
    """The factor of each row."""
    if second is None:
        return np.zeros(0, np.uint32)
    factors, width = second.pivots.shape
    if width != columns or rows % factors:
        raise ValueError(
            f"second-order information for {factors} groups of rows with {width} columns, "
            f"weights of {rows} rows with {columns}"
        )
    return np.repeat(np.arange(factors, dtype=np.uint32), rows // factors)


def _flat(array: np.ndarray | None, dtype: type) -> np.ndarray:
    return np.zeros(0, dtype) if array is None else np.ascontiguousarray(array, dtype).reshape(-1)


def rate_distortion(
    weights: np.ndarray,
    step: float,
    *,
    lam: float,
    states: int = 8,
    hessian: np.ndarray | Factor | None = None,
    rows_importance: np.ndarray | None = None,
    coder: Callable[[np.ndarray], RateSource] | None = None,
    passes: int = 3,
    threads: int | None = None,
) -> tuple[np.ndarray, float]:
    """Levels as by :func:`quantise_tensor`, with rates that these levels have; and their cost.

    The cost is distortion + ``lam`` * bits in the last pass.  The first pass takes estimated
    rates.  Every other one asks ``coder`` what each index would have cost beside the
    levels so far: it gets levels (int32, in the tensor's shape) and returns a source of rates,
    which need not hold those of all weights at once.  Without a coder, rates are counted from
    the levels, class by class.  ``threads``: see :func:`quantise_tensor`.
    """
    search = _Search.of(weights, step, lam, states, hessian, rows_importance, threads)
    counted = search.estimate() if search.values.size else None
    levels, cost = search.levels(counted)
    for _ in range(passes - 1 if search.values.size else 0):
        if coder is None and counted is not None:
            counted = observe(levels, states, counted)
        levels, cost = search.levels(coder(levels) if coder else counted)
    return levels, cost


def exchange(step: float, states: int = 8, balance: float = 0.5) -> float:
    """Lambda, squared error per bit, that suits a step.

    At high rates one bit more divides the squared error D by four, so that a bit is worth
    2 ln(2) D.  ``balance`` is the fraction of it; 0.5 to 1 cost least at equal error.

    >>> round(exchange(0.1, states=0, balance=1), 6)
    0.001155
    """
    return balance * 2 * log(2) * _NOISE[states] * step**2


def choose_step(
    weights: np.ndarray, error: float, *, states: int = 8, balance: float = 0.5, turns: int = 8
) -> float:
    """The step at which levels have about this mean squared error (no second order).

    ``error`` must be positive and below the weights' mean square, which is what all zeros have.
    """
    power = float(np.mean(np.square(weights, dtype=np.float64)))
    if not 0 < error < power:
        raise ValueError(f"an error of {error:g} for weights of mean square {power:g}")
    low, high = 0.0, float("inf")
    step = (error / _NOISE[states]) ** 0.5
    for _ in range(turns):
        lam = exchange(step, states, balance)
        levels, _ = rate_distortion(weights, step, lam=lam, states=states, passes=2)
        found = float(np.mean((weights - levels * step) ** 2))
        if abs(found / error - 1) < 1e-3:
            break
        low, high = (step, high) if found < error else (low, step)
        step *= (error / max(found, 1e-30)) ** 0.5
        if not low < step < high:
            step = low * 2 if high == float("inf") else (low + high) / 2
    return step


def fit_step(
    weights: np.ndarray,
    levels: np.ndarray,
    *,
    hessian: np.ndarray | Factor | None = None,
    rows_importance: np.ndarray | None = None,
) -> float:
    """The step with which these levels have the least distortion (weighted least squares).

    Rate-distortion decisions shrink or stretch a little; at low rates this takes back 1 % of
    the error for nothing.  ValueError if all levels are zero.

    >>> round(fit_step(np.array([[0.5, 0.3]]), np.array([[2, 1]])), 6)
    0.26
    """
    shape = (weights.size // columns_of(weights.shape), columns_of(weights.shape))
    pair = [np.asarray(a, np.float64).reshape(shape) for a in (weights, levels)]
    if hessian is not None:
        second = hessian if isinstance(hessian, Factor) else factor(hessian)
        pair = [whiten(rows, second) for rows in pair]
    share = np.ones(shape[0]) if rows_importance is None else rows_importance
    power = float(share @ np.sum(pair[1] ** 2, axis=1))
    if not power > 0:
        raise ValueError("levels that are all zero fit no step")
    return float(share @ np.sum(pair[0] * pair[1], axis=1)) / power
