"""The quality that a budget allows: a search over a few trial compressions.

>>> sizes = {10.0: 900, 12.0: 1100, 11.0: 1000}
>>> def attempt(quality):
...     return Attempt(quality, sizes[quality], None)
>>> largest_within(attempt, lambda trial: trial.packed <= 1000, start=12.0, stride=2.0, finest=1.0)
(Attempt(quality=11.0, packed=1000, predicted_drop=None), True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reticule.methods.base import Context

LOWEST, HIGHEST = -6.0, 60.0


@dataclass(frozen=True)
class Attempt:
    """A trial: what a quality gives.  ``predicted_drop`` is in points of accuracy."""

    quality: float
    packed: Any
    predicted_drop: float | None


def within_budget(
    context: Context,
    attempt: Callable[[float], Attempt],
    start: float,
    *,
    judged: bool,
    by_bytes: float = 0.125,
    by_drop: float = 0.25,
    stride: float = 2.0,
) -> tuple[Attempt, bool]:
    """The trial that the user's budget asks for, and whether it keeps it as far as is known.

    The best quality whose file fits; or the lowest whose predicted drop is allowed, if drops
    are ``judged``; else ``start``.  The first step is one of ``stride`` decibels; qualities are
    told apart down to ``by_bytes`` and ``by_drop``.
    """
    if context.max_bytes is not None and context.file_size is not None:
        size: Callable[[Any], int] = context.file_size
        most = context.max_bytes
        return largest_within(
            attempt,
            lambda trial: size(trial.packed) <= most,
            start=start,
            stride=stride,
            finest=by_bytes,
        )
    if context.max_drop is not None and judged:
        drop = context.max_drop
        return smallest_enough(
            attempt,
            lambda trial: (trial.predicted_drop or 0.0) <= drop,
            start=start,
            stride=stride,
            finest=by_drop,
        )
    return attempt(start), True


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
