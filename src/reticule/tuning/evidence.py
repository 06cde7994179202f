"""How much some images prove: how many of them differ, and which shifts are certain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALIKE = 1e-5  # of the inputs' size: images that differ by less are one
TRUST = 4.0  # images

Values = NDArray[np.float64]


def distinct(inputs: tuple[np.ndarray, ...]) -> int:
    """How many of the images (n, ...) differ from each other; for several inputs, together.

    >>> distinct((np.ones((5, 3, 2, 2), np.float32),))
    1
    """
    if not inputs or not len(inputs[0]):
        return 0
    rng = np.random.default_rng(0)
    places, size = np.zeros(len(inputs[0])), 0.0
    for values in inputs:
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        line = rng.normal(size=flat.shape[1])
        places += flat @ line
        size += float(np.square(flat).mean() * np.square(line).sum())
    apart = np.diff(np.sort(places)) > ALIKE * size**0.5
    return 1 + int(np.count_nonzero(apart))


def believed(shifts: Values, images: int) -> Values:
    """The mean (channels,) of what each image shows (n, channels), as far as it is certain.

    With variance v / ``images`` of the mean, its square over itself and that remains: the
    least expected error.  Nothing where there is one image only.
    """
    mean = shifts.mean(axis=0)
    if images < 2 or len(shifts) < 2:
        return np.zeros_like(mean)
    noise = shifts.var(axis=0, ddof=1) / images
    return np.asarray(mean * mean**2 / np.maximum(mean**2 + noise, 1e-300))


def trust(images: int) -> float:
    """How far means, and least squares, can be trusted: 0 for one image, towards 1 for many."""
    return max(images - 1, 0) / (max(images - 1, 0) + TRUST)
