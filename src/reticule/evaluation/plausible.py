"""A look before the work: whether a network that was given does what it was trained for.

Most accuracies that are no better than chance are no property of the network: the images are not
prepared as in its training, or labels number other classes.
"""

from __future__ import annotations

import math

import numpy as np

from reticule.errors import DataError
from reticule.evaluation.inputs import Inputs

FEWEST = 20  # images: fewer prove nothing
SURE = 3.0  # standard errors
LOOKED_AT = 64  # inputs whose statistics are told


def check_above_chance(accuracy: float, classes: int, data: Inputs, name: str) -> None:
    """Raise DataError for an accuracy (percent) that says nothing but chance, or less.

    ``data`` is what it was measured on, named ``name``; the message has the likely causes.
    """
    count = len(data)
    if count < FEWEST or accuracy > 100 * (1 / classes + SURE * chance_error(classes, count)):
        return
    sample = data.inputs(np.arange(min(LOOKED_AT, count)))[0]
    raise DataError(
        f"{name}: the network gets {accuracy:.2f} % of {count:,} images right, no better than "
        f"chance ({100 / classes:.2g} %). Likely the images are not prepared as in its training "
        f"(inputs now have mean {sample.mean():.3g} and standard deviation {sample.std():.3g}: "
        "check --scale, --mean and --std), or the labels number other classes; "
        "--anyway goes on all the same"
    )


def chance_error(classes: int, count: int) -> float:
    """The standard error of the share of ``count`` guesses that are right by chance.

    >>> round(chance_error(10, 100), 3)
    0.03
    """
    return math.sqrt((1 / classes) * (1 - 1 / classes) / count)
