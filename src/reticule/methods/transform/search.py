"""The quality that a user's budget asks for, when a method can try several."""

from __future__ import annotations

from collections.abc import Callable

from reticule.methods.base import Context
from reticule.methods.quantise.budget import Attempt, largest_within, smallest_enough

STRIDE = 2.0  # of the first steps, in decibels
BY_SIZE, BY_DROP = 0.25, 0.5  # the finest steps


def within_budget(
    attempt: Callable[[float], Attempt], start: float, context: Context
) -> tuple[Attempt, bool]:
    """The best trial from ``start``, and whether it keeps the budget as far as this can tell.

    With ``max_bytes`` the best whose file fits, with ``max_drop`` the smallest whose
    predicted drop, where trials have one, does; without either, the one at ``start``.
    """
    if context.max_bytes is not None and context.file_size is not None:
        size, most = context.file_size, context.max_bytes
        return largest_within(
            attempt,
            lambda trial: size(trial.packed) <= most,
            start=start,
            stride=STRIDE,
            finest=BY_SIZE,
        )
    first = attempt(start)
    drop = context.max_drop
    if drop is None or first.predicted_drop is None:
        return first, True
    return smallest_enough(
        lambda quality: first if quality == start else attempt(quality),
        lambda trial: (trial.predicted_drop or 0.0) <= drop,
        start=start,
        stride=STRIDE,
        finest=BY_DROP,
    )
