"""The quality that a budget allows: a search over a few trial compressions.

How far a trial is from its budget is told in decibels of quality, above 0 if it breaks it.

>>> attempt = lambda quality: Attempt(quality, None)
>>> def off(trial): return trial.quality - 11.2
>>> found, met = highest_within(attempt, off, start=12.0, finest=0.25)
>>> round(found.quality, 3), met
(11.075, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.methods.base import Context
from reticule.methods.quantise.judge import MOST, NOT_JUDGED, Verdict, decibels
from reticule.tuning.likelihood import PRECISION

LOWEST, HIGHEST = -6.0, 60.0
STEP = 6.0  # decibels that a search goes at first, at most
STEEPEST = 4.0  # qualities for a decibel off, or the inverse of it
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
) -> tuple[Attempt, bool]:
    """The trial that the user's budget asks for, and whether it keeps it as far as is known.

    The lowest quality whose answers are allowed, where the budget asks for that and trials are
    judged; ``before`` is then what the network had lost already (None: trials are not judged).
    Else the best quality whose file fits, or ``start``.  Qualities are told apart down to
    ``by_bytes`` and ``by_drop`` decibels.
    """
    size, most = context.file_size, context.max_bytes

    def too_large(trial: Attempt) -> float:
        if size is None or most is None:
            return -MOST
        return decibels(size(trial.packed), most, 20)  # halved by 6 decibels at 2 bits a weight

    if before is not None and not before.allowed(context):
        return attempt(start), False  # no quality can win back what is lost
    if before is not None:
        found, met = lowest_enough(
            attempt, lambda trial: trial.verdict.lacking(context), start=start, finest=by_drop
        )
        return found, met and too_large(found) <= 0
    if most is not None and size is not None:
        return highest_within(attempt, too_large, start=start, finest=by_bytes)
    return attempt(start), True


def default_quality(context: Context) -> float:
    """The quality to begin with: about that which ``max_error`` will need, if it is given.

    At high rates weights lose 1 / (2 ln 2) of what their bits are worth.
    """
    if context.max_error is not None:
        nats = 0.5 * PRECISION * (context.max_error / 100) ** 2
        return float(np.clip(10 * math.log10(1 / (2 * math.log(2) * nats)), LOWEST, HIGHEST))
    return CLASSIFIER_QUALITY if context.classified else OTHER_QUALITY


def highest_within(
    attempt: Callable[[float], Attempt],
    off: Callable[[Attempt], float],
    *,
    start: float,
    finest: float,
) -> tuple[Attempt, bool]:
    """The best quality that keeps a budget, and whether any does (else the lowest that was tried).

    ``off`` must not fall with the quality.  See :func:`_search`.
    """
    return _search(attempt, off, start, finest, better=-1.0)


def lowest_enough(
    attempt: Callable[[float], Attempt],
    off: Callable[[Attempt], float],
    *,
    start: float,
    finest: float,
) -> tuple[Attempt, bool]:
    """The lowest quality that keeps a budget, and whether any does (else the highest tried).

    ``off`` must not rise with the quality.  See :func:`_search`.
    """
    return _search(attempt, off, start, finest, better=1.0)


def _search(
    attempt: Callable[[float], Attempt],
    off: Callable[[Attempt], float],
    start: float,
    finest: float,
    better: float,
) -> tuple[Attempt, bool]:
    """Go to where the budget is just kept; ``better`` (1 or -1) is the way to keep it.

    Each step is as long as the last trial is off, by the slope of the last two, and a little
    more, so that it will be kept.  Between a trial that keeps it and one that does not, every
    third step halves, whatever the slope says.  It ends when the budget is kept and ``finest``
    decibels less would probably not keep it.
    """
    missed: dict[float, float] = {}  # by quality; of the networks only the best is kept
    best: Attempt | None = None
    quality, last, slope = start, start, 1.0
    while True:
        trial = attempt(quality)
        missed[quality] = off(trial)
        if quality != last:
            change = missed[last] - missed[quality]
            found = better * (quality - last) / change if change else STEEPEST
            slope = min(max(found, 1 / STEEPEST), STEEPEST) if found > 0 else STEEPEST
        last = quality
        if missed[last] <= 0 and (best is None or better * last < better * best.quality):
            best = trial
        worst = max((q for q in missed if missed[q] > 0), key=lambda q: better * q, default=None)
        if best is not None:
            gap = math.inf if worst is None else better * (best.quality - worst)
            probably = -missed[best.quality] * max(slope, 1.0)
            if min(gap / 1.001, probably) <= finest:
                return best, True
        if best is not None and worst is not None:
            left = missed[worst] - missed[best.quality]
            part = (missed[worst] + finest / 2 / slope) / left
            part = 0.5 if len(missed) % 3 == 0 else min(max(part, 0.1), 0.9)
            quality = worst + (best.quality - worst) * part
        else:
            longest = STEP * 2 ** len(missed) / 2
            step = missed[last] * slope + finest / 2
            quality = last + better * min(max(step, -longest), longest)
            quality = min(max(quality, LOWEST), HIGHEST)
        if quality in missed:
            return best or trial, best is not None
