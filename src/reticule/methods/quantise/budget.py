"""The quality that a budget allows: a search over a few trial compressions.

>>> sizes = {10.0: 900, 12.0: 1100, 11.0: 1000}
>>> def attempt(quality):
...     return Attempt(quality, sizes[quality])
>>> largest_within(attempt, lambda trial: trial.packed <= 1000, start=12.0, stride=2.0, finest=1.0)
(Attempt(quality=11.0, packed=1000, verdict=Verdict(drop=None, error=None)), True)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.methods.base import Context
from reticule.methods.quantise.judge import NOT_JUDGED, Verdict
from reticule.tuning.likelihood import PRECISION

LOWEST, HIGHEST = -6.0, 60.0
CLASSIFIER_QUALITY, OTHER_QUALITY = 12.0, 20.0  # where no budget asks


@dataclass(frozen=True)
class Attempt:
    """A trial: what a quality gives, and what that probably loses."""

    quality: float
    packed: Any
    verdict: Verdict = NOT_JUDGED


def within_budget(
    context: Context,
    attempt: Callable[[float], Attempt],
    start: float,
    *,
    before: Verdict | None,
    by_bytes: float = 0.125,
    by_drop: float = 0.25,
    stride: float = 2.0,
) -> tuple[Attempt, bool]:
    """The trial that the user's budget asks for, and whether it keeps it as far as is known.

    The lowest quality whose answers are allowed, where the budget asks for that and trials are
    judged; ``before`` is then what the network had lost already (None: trials are not judged).
    Else the best quality whose file fits, or ``start``.  The first step is one of ``stride``
    decibels; qualities are told apart down to ``by_bytes`` and ``by_drop``.
    """
    size, most = context.file_size, context.max_bytes

    def fits(trial: Attempt) -> bool:
        return size is None or most is None or size(trial.packed) <= most

    if before is not None and not before.allowed(context):
        return attempt(start), False  # no quality can win back what is lost
    if before is not None:
        found, met = smallest_enough(
            attempt,
            lambda trial: trial.verdict.allowed(context),
            start=start,
            stride=stride,
            finest=by_drop,
        )
        return found, met and fits(found)
    if most is not None and size is not None:
        return largest_within(attempt, fits, start=start, stride=stride, finest=by_bytes)
    return attempt(start), True


def default_quality(context: Context) -> float:
    """The quality to begin with: about that which ``max_error`` will need, if it is given.

    At high rates weights lose 1 / (2 ln 2) of what their bits are worth.
    """
    if context.max_error is not None:
        nats = 0.5 * PRECISION * (context.max_error / 100) ** 2
        return float(np.clip(10 * math.log10(1 / (2 * math.log(2) * nats)), LOWEST, HIGHEST))
    return CLASSIFIER_QUALITY if context.classified else OTHER_QUALITY


def largest_within(
    attempt: Callable[[float], Attempt],
    fits: Callable[[Attempt], bool],
    *,
    start: float,
    stride: float,
    finest: float,
) -> tuple[Attempt, bool]:
    """The best quality that still fits, and whether any does (else the lowest that was tried).

    More quality must not fit better.  Goes up or down from ``start`` with doubling strides
    until a trial fits and a better one does not, then halves down to ``finest``.
    """
    return _search(attempt, fits, start, stride, finest, up=True)


def smallest_enough(
    attempt: Callable[[float], Attempt],
    enough: Callable[[Attempt], bool],
    *,
    start: float,
    stride: float,
    finest: float,
) -> tuple[Attempt, bool]:
    """The lowest quality that is enough, and whether any is (else the highest that was tried)."""
    return _search(attempt, enough, start, stride, finest, up=False)


def _search(
    attempt: Callable[[float], Attempt],
    good: Callable[[Attempt], bool],
    start: float,
    stride: float,
    finest: float,
    *,
    up: bool,
) -> tuple[Attempt, bool]:
    """Bracket and halve; ``up`` says in which direction trials turn bad."""
    best: Attempt | None = None
    worst: Attempt | None = None  # the bad trial nearest to the good ones
    last = attempt(start)
    while True:
        if good(last):
            best = last
        else:
            worst = last
        if best and worst:
            break
        away = 1.0 if (best is not None) == up else -1.0
        quality = min(max(last.quality + away * stride, LOWEST), HIGHEST)
        if quality == last.quality:
            return last, best is not None
        last, stride = attempt(quality), 2 * stride
    while abs(best.quality - worst.quality) > finest * 1.001:
        middle = attempt((best.quality + worst.quality) / 2)
        if good(middle):
            best = middle
        else:
            worst = middle
    return best, True
