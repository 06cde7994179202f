"""Which images are held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reticule.errors import DataError


def held_out(
    count: int, labels: NDArray[np.int64] | None, fraction: float, seed: int, name: str
) -> NDArray[np.bool_]:
    """Which of ``count`` inputs are held out: bool (count,), about ``fraction`` of them.

    The same share of every class, and at least one input of a class in each part where it has two
    or more.  Without labels, and where no class has two, the choice takes no heed of classes.
    DataError for a single input, or impossible arguments.
    """
    if not 0 < fraction < 1:
        raise DataError(f"{name}: cannot hold out {fraction}, give a fraction in 0..1")
    if seed < 0:
        raise DataError(f"{name}: seed {seed} is negative")
    if count < 2:
        raise DataError(
            f"{name}: has a single input, of which nothing can be held out; give more, "
            "or other data to decide on"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    held = np.zeros(count, bool)
    if labels is None or np.unique(labels, return_counts=True)[1].max() < 2:
        labels = np.zeros(count, np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        most = len(members) - 1  # a class of one image stays in the rest
        chosen = min(max(round(len(members) * fraction), 1), most)
        held[generator.permutation(members)[:chosen]] = True
    return held
