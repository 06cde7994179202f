"""How far a set function is from submodular, measured on random sets.

A set function f is *submodular* if what an item adds only shrinks as the set grows: for S in T
and an item i outside of T,

    f(S + i) - f(S) >= f(T + i) - f(T)

It is *monotone* if nothing takes away.  Greedy selection then reaches 1 - 1/e of the best value
(Nemhauser, Wolsey & Fisher, "An analysis of approximations for maximizing submodular set
functions", 1978), and more where the *total curvature* is below 1,

    c = 1 - min over i of (f(V) - f(V - i)) / (f(i) - f(empty))

(Conforti & Cornuejols 1984).  Without submodularity, the *submodularity ratio*

    gamma = min over S, L of  sum over j in L of (f(S + j) - f(S))  /  (f(S + L) - f(S))

(Das & Kempe, ICML 2011) and the *generalised curvature* alpha, the least with
f(T + i) - f(T) >= (1 - alpha) (f(S + i) - f(S)), still bound it: greedy reaches
(1 - exp(-alpha gamma)) / alpha (Bian et al., "Guarantees for greedy maximization of
non-submodular functions with applications", ICML 2017).  All sets are far too many to try, so
that what is found on random ones is an upper bound of gamma, and a lower bound of c and alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reticule.errors import ReticuleError

SetFunction = Callable[[np.ndarray], float]  # items in ascending order -> value

MOST_JOINT = 8  # items whose single gains are compared with their joint one
TOLERANCE = 1e-9  # of the range of values: differences below are rounding
NORMAL = 1.959964  # 95 % of a normal distribution lie within so many deviations


@dataclass(frozen=True)
class Diminishing:
    """What random sets say about a set function.

    ``violations`` of the ``triples`` (S, T, i) have a gain that grew; ``rate`` is their share,
    ``low`` to ``high`` its 95 % interval (Wilson 1927), and ``shrunk`` the share of those whose
    gain became smaller.  ``mean`` and ``worst`` are sizes of violations in units of ``span``,
    largest less smallest value seen.  ``negative`` is the share of gains below zero.
    ``curvature`` is c, ``generalised`` alpha, ``ratio`` gamma as seen, and ``usual_ratio`` the
    median where ``ratio`` is the least; NaN where no set had a positive gain to divide by.
    """

    triples: int
    violations: int
    rate: float
    low: float
    high: float
    shrunk: float
    mean: float
    worst: float
    negative: float
    span: float
    curvature: float
    generalised: float
    ratio: float
    usual_ratio: float
    seed: int


def diminishing(
    value: SetFunction,
    size: int,
    triples: int = 1000,
    joints: int = 100,
    items: int = 64,
    seed: int = 0,
) -> Diminishing:
    """Measure a set function over the items 0 ... size - 1 on random sets.

    Sizes of T are uniform in 1 ... size - 1, those of S below that of T.  The first ``joints``
    of the triples also give S and some items L for the submodularity ratio; the total
    curvature is taken over ``items`` random items.  Which sets are asked for depends on
    ``size``, the numbers and the ``seed`` only, so that a caller can keep values of several
    functions.  Raises ReticuleError for fewer than two items or no triples.

    >>> cover = [{0, 1}, {1, 2}, {2, 3}]
    >>> found = diminishing(lambda s: float(len(set().union(*(cover[i] for i in s)))), 3, 50)
    >>> found.violations, found.curvature, found.ratio >= 1
    (0, 1.0, True)
    >>> found = diminishing(lambda s: float(len(s) ** 2), 3, 50)
    >>> found.rate, found.shrunk, round(found.worst, 2)
    (1.0, 0.0, 0.44)
    """
    if size < 2 or triples < 1:
        raise ReticuleError(f"{triples} triples of {size} items: take 1 and 2 at least")
    sample = _Sample(value, size, np.random.default_rng(seed))
    pairs = np.array([sample.triple(wider=number < joints) for number in range(triples)])
    ends = np.array(sample.ends(items))
    span = max(sample.high - sample.low, 1e-300)
    least = TOLERANCE * span
    grown = pairs[:, 1] - pairs[:, 0]
    wrong = grown[grown > least] / span
    low, high = wilson(wrong.size, triples)
    ratios = np.array([alone / joint for alone, joint in sample.joints if joint > least])
    return Diminishing(
        triples=triples,
        violations=int(wrong.size),
        rate=wrong.size / triples,
        low=low,
        high=high,
        shrunk=float((grown < -least).mean()),
        mean=float(wrong.mean()) if wrong.size else 0.0,
        worst=float(wrong.max(initial=0.0)),
        negative=float((pairs < -least).mean()),
        span=span,
        curvature=_curvature(ends, least),
        generalised=_curvature(pairs, least),
        ratio=float(ratios.min()) if ratios.size else float("nan"),
        usual_ratio=float(np.median(ratios)) if ratios.size else float("nan"),
        seed=seed,
    )


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a probability of which ``hits`` of ``count`` trials were seen.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927: also
    right for rates near 0 and 1.

    >>> [round(end, 3) for end in wilson(0, 100)]
    [0.0, 0.037]
    """
    rate, square = hits / count, NORMAL**2 / count
    middle = (rate + square / 2) / (1 + square)
    half = np.sqrt(square * rate * (1 - rate) + square**2 / 4) / (1 + square)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _curvature(gains: np.ndarray, least: float) -> float:
    """1 less the smallest quotient of what an item adds late (column 1) and early (column 0)."""
    fine = gains[:, 0] > least
    return float(1 - (gains[fine, 1] / gains[fine, 0]).min()) if fine.any() else float("nan")


class _Sample:
    """Random sets, and what is seen of the function on the way."""

    def __init__(self, value: SetFunction, size: int, rng: np.random.Generator) -> None:
        self._value, self._size, self._rng = value, size, rng
        self.low, self.high = np.inf, -np.inf
        self.joints: list[tuple[float, float]] = []  # sum of single gains, joint gain

    def _of(self, items: np.ndarray) -> float:
        found = float(self._value(np.sort(items)))
        self.low, self.high = min(self.low, found), max(self.high, found)
        return found

    def triple(self, wider: bool) -> tuple[float, float]:
        """What an item adds to S, and to T around it."""
        order = self._rng.permutation(self._size)
        outer = int(self._rng.integers(1, self._size))
        inner = int(self._rng.integers(0, outer))
        some, more, item = order[:inner], order[:outer], order[-1:]
        start = self._of(some)
        first = self._of(np.append(some, item)) - start
        second = self._of(np.append(more, item)) - self._of(more)
        if wider:
            self._joint(order, inner, start, first)
        return first, second

    def _joint(self, order: np.ndarray, inner: int, start: float, first: float) -> None:
        """Single gains and the joint one of the triple's item and some others."""
        some, rest = order[:inner], order[inner:-1]
        count = int(self._rng.integers(1, min(MOST_JOINT, rest.size + 1)))
        alone = [first, *(self._of(np.append(some, j)) - start for j in rest[:count])]
        together = np.concatenate([some, rest[:count], order[-1:]])
        self.joints.append((sum(alone), self._of(together) - start))

    def ends(self, items: int) -> list[tuple[float, float]]:
        """What items add to nothing, and to all others."""
        every = np.arange(self._size)
        none, whole = self._of(every[:0]), self._of(every)
        chosen = self._rng.permutation(self._size)[:items]
        return [
            (self._of(every[i : i + 1]) - none, whole - self._of(np.delete(every, i)))
            for i in chosen.tolist()
        ]
