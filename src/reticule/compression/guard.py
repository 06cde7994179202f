"""What tells a stage that destroys the network from one that compresses it.

A stage that no training follows must leave the answers about as they were.  A *collapse* is an
answer that is not finite, an output that no longer varies, or an error above the ceiling that the
recipe states.  Binarising and hashing destroy what a network knew, rightly, as training builds it
anew; such stages are looked at after that training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reticule.evaluation.fidelity import fidelity_of, worst_error
from reticule.graph import Graph

FLAT = 0.01  # of what an output varied by before: less is constant


def collapse(
    graph: Graph,
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    ceiling: float | None,
) -> str:
    """Why a stage counts as a collapse, in words, or "".

    ``before`` and ``after`` it are the answers of the network to the same inputs, one array for
    each output.  ``ceiling`` is the largest error in percent (None: any will do).
    """
    pairs = list(zip(graph.outputs, before, after, strict=True))
    for name, old, new in pairs:
        if np.isfinite(old).all() and not np.isfinite(new).all():
            return f"output '{name}' is no longer finite"
    for name, old, new in pairs:
        if spread(new) < FLAT * spread(old):
            return f"output '{name}' has become constant"
    error = worst_error(fidelity_of(graph, [(before, after)])) or 0.0
    if ceiling is not None and error > ceiling:
        return (
            f"an error of {error:.0f} % beside the network before it, at most {ceiling:g} % allowed"
        )
    return ""


def spread(output: np.ndarray) -> float:
    """How much an output varies from input to input, in its most lively place; 0 for one input.

    >>> spread(np.array([[1.0, 5.0], [1.0, 7.0]]))
    1.0
    """
    with np.errstate(all="ignore"):
        varying = output.astype(np.float64).std(axis=0)
    return float(varying.max(initial=0.0))
