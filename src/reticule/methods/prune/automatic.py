"""How many weights to keep: measured on the network before it is trained.

The *free* density f is the smallest at which a cut without any training costs only a few
points on training images: nothing has been trained yet, so these are as good as any.
Retraining wins back more, on a logarithmic scale, and more in fully connected layers than
in convolutions; so pruning goes on to ``f ** reach``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from reticule.forms import Packed, Sparse
from reticule.methods.base import Context
from reticule.tuning.problem import evenly

BISECTIONS = 9
BISECTION_IMAGES = 2000
LEAST_DENSITY = 1e-4
MILDER = 0.7  # exponent of the density of the next attempt, if one has lost too much

Cut = Callable[[Mapping[str, np.ndarray], float], Mapping[str, np.ndarray]]


def free_density(
    packed: Packed,
    names: Sequence[str],
    context: Context,
    cut: Cut,
    *,
    points: float,
    floor: float,
    images: int = BISECTION_IMAGES,
    rounds: int = BISECTIONS,
) -> float:
    """The smallest density, at least ``floor``, that a cut alone reaches for ``points`` points.

    ``cut(weights, density)`` gives masks for the named tensors.  Found in ``rounds`` of bisection
    on a logarithmic scale, on so many training images.
    """
    sample = evenly(context.data.train, images)
    weights = {name: packed.forms[name].dense() for name in names}

    def accurate(candidate: Packed) -> float:
        return context.data.score(candidate, sample)

    least = accurate(packed) - points
    low, high = math.log(max(floor, LEAST_DENSITY)), 0.0
    for _ in range(rounds):
        middle = (low + high) / 2
        masks = cut(weights, math.exp(middle))
        forms = {name: Sparse.keep(weights[name], masks[name]) for name in names}
        if accurate(packed.with_forms(forms)) >= least:
            high = middle
        else:
            low = middle
    return math.exp(high)


def reach_of(packed: Packed, names: Sequence[str], *, conv: float, linear: float) -> float:
    """The exponent of the target density: a mean by the number of weights of either kind."""
    reaches = {
        weight: conv if node.op == "Conv" else linear for node, weight in packed.graph.weights()
    }
    sizes = {name: packed.forms[name].size for name in names}
    total = sum(reaches[name] * size for name, size in sizes.items())
    return total / max(sum(sizes.values()), 1)


def held_to_budget(
    prune: Callable[[float, int], Packed], target: float, attempts: int, context: Context
) -> tuple[Packed, list[dict[str, float]]]:
    """The outcome of the first attempt that loses no more than the user allows, or the last.

    ``prune(density, attempt)`` starts from the beginning each time.  How much was lost is
    only known with images that the original has not seen.  Also gives what was tried.
    """
    tried: list[dict[str, float]] = []
    for attempt in range(attempts):
        pruned = prune(target, attempt)
        reached = context.data.score(pruned)
        tried.append({"density": target, "accuracy": reached})
        if context.max_drop is None or not context.unseen:
            break
        if reached >= context.original_score - context.max_drop:
            break
        target = target**MILDER
    return pruned, tried
