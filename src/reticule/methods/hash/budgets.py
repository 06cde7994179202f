"""How many shared values each layer gets, and each frequency band of a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_HALVINGS = 200
_THINNEST = 1e-12  # density, of the largest


def band_budgets(sizes: Sequence[int], total: int, alpha: float, beta: float) -> tuple[int, ...]:
    """Divide ``total`` values among bands of ``sizes`` weights by a Beta density.

    Band j of b gets K_j = Z f(x_j) sizes[j] values, f(x) = x^(alpha - 1) (1 - x)^(beta - 1)
    at x_j = (j + 1) / (b + 1), with at least one value and no more than it has weights.
    alpha = beta = 1 treats all alike; alpha <= 1 < beta favours the first bands, those
    of low frequencies.

    ``total`` must be from the number of bands to the number of weights.

    >>> band_budgets((100, 200, 300, 200, 100), 90, 1.0, 1.0)
    (10, 20, 30, 20, 10)
    >>> band_budgets((100, 200, 300, 200, 100), 90, 0.25, 2.5)
    (34, 29, 20, 6, 1)
    """
    x = np.arange(1, len(sizes) + 1) / (len(sizes) + 1)
    log_density = (alpha - 1) * np.log(x) + (beta - 1) * np.log1p(-x)
    return divided(sizes, total, np.exp(log_density - log_density.max()))


def layer_budgets(sizes: Sequence[int], rate: float, balance: float) -> tuple[int, ...]:
    """``rate`` times the weights of all layers, divided in proportion to sizes^balance.

    Each layer has at least one value, unless it is empty.  With ``balance`` 1 each has
    ``rate`` times its own weights, rounded.

    >>> layer_budgets((1000, 100), 0.1, 1.0), layer_budgets((1000, 100), 0.1, 0.5)
    ((100, 10), (84, 26))
    """
    if balance == 1:
        return tuple(min(max(round(size * rate), 1), size) for size in sizes)
    full = [size for size in sizes if size]
    total = min(max(round(sum(full) * rate), len(full)), sum(full))
    given = iter(divided(full, total, np.array(full, np.float64) ** (balance - 1)))
    return tuple(next(given) if size else 0 for size in sizes)


def divided(sizes: Sequence[int], total: int, density: np.ndarray) -> tuple[int, ...]:
    """``total`` divided in proportion to density * size, from 1 to ``size`` for each.

    What a part cannot take, or must have, comes from the others; fractions go to the
    parts with the largest ones.

    >>> divided((2, 50, 50), 40, np.array([9.0, 2.0, 1.0]))
    (2, 25, 13)
    """
    most = np.array(sizes, np.float64)
    if not len(most) <= total <= most.sum():
        raise ValueError(f"{total} values for {len(most)} parts of {most.sum():.0f} weights")
    share = np.maximum(density / density.max(initial=0.0), _THINNEST) * most
    low, high = 0.0, float((most / share).max(initial=0.0))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if np.clip(middle * share, 1, most).sum() < total:
            low = middle
        else:
            high = middle
    exact = np.clip(high * share, 1, most)
    budgets = np.floor(exact + 1e-9)
    order = np.argsort(budgets - exact, kind="stable")  # largest fractions first
    missing = total - int(budgets.sum())
    while missing:
        step = 1 if missing > 0 else -1
        for part in order[::step]:
            room = most[part] - budgets[part] if step > 0 else budgets[part] - 1
            if missing and room >= 1:
                budgets[part] += step
                missing -= step
    return tuple(int(budget) for budget in budgets)
