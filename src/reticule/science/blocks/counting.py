"""How many ways there are: logarithms of counts, in bits.

Counts of subsets, of partitions of a set and of partitions of an integer are what the
description lengths of :mod:`reticule.science.blocks` are made of.  Everything works on arrays
of any shape.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from reticule.science.optional import need

LN2 = float(np.log(2.0))


def log2_factorial(n: Any) -> np.ndarray:
    """log2 n!, also between the integers.

    >>> [round(float(v), 6) for v in log2_factorial(np.array([0, 1, 4]))]
    [0.0, 0.0, 4.584963]
    """
    return log2_gamma(np.asarray(n, np.float64) + 1.0)


def log2_gamma(x: Any) -> np.ndarray:
    """log2 of the gamma function of positive numbers."""
    return need("scipy.special", "block models").gammaln(x) / LN2


def log2_binomial(n: Any, k: Any) -> np.ndarray:
    """log2 of the number of k-subsets of n things, 0 <= k <= n.

    >>> round(float(log2_binomial(4, 2)), 6)  # log2 6
    2.584963
    """
    n, k = np.asarray(n, np.float64), np.asarray(k, np.float64)
    return log2_factorial(n) - log2_factorial(k) - log2_factorial(n - k)


def log2_integer_partitions(total: Any, parts: Any) -> np.ndarray:
    """log2 of the number of ways to write an integer as a sum of at most so many positive ones.

    The price of a list of degrees up to order, when their sum and number are known.  For few
    parts the compositions divided by the orders, otherwise the asymptotic formula of Szekeres
    (1951), as in Peixoto, "Nonparametric Bayesian inference of the microcanonical stochastic
    block model", 2017, appendix; within a few tenths of a bit of the exact count.

    >>> round(float(log2_integer_partitions(100, 100)), 1)  # exactly log2 190569292 = 27.5
    27.6
    """
    total, parts = np.broadcast_arrays(np.asarray(total, np.float64), np.asarray(parts, np.float64))
    count = np.minimum(parts, total)
    safe_total, safe_count = np.maximum(total, 1.0), np.maximum(count, 1.0)
    few = log2_binomial(safe_total + safe_count - 1, safe_count - 1) - log2_factorial(safe_count)
    points, exponent, factor = _szekeres()
    ratio = np.log(safe_count / np.sqrt(safe_total))
    many = np.sqrt(safe_total) * np.interp(ratio, points, exponent)
    many = (many + np.interp(ratio, points, factor) - np.log(safe_total)) / LN2
    bits = np.where(safe_count < safe_total**0.25, few, many)
    return np.where(count > 1, np.maximum(bits, 0.0), 0.0)


@cache
def _szekeres() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exponent and the logarithm of the factor over log(parts / sqrt(total))."""
    spence = need("scipy.special", "block models").spence
    points = np.linspace(-10.0, 12.0, 8001)
    u = np.exp(points)
    v = u.copy()
    for _ in range(200):  # v = u sqrt(Li2(1 - e^-v)): contracts everywhere
        v = u * np.sqrt(spence(np.exp(-v)))
    rest = -np.expm1(-v)
    exponent = 2 * v / u - u * np.log(rest)
    spread = np.maximum(1 - (1 + u * u / 2) * np.exp(-v), 1e-300)
    factor = np.log(v / (2**1.5 * np.pi * u)) - 0.5 * np.log(spread)
    return points, exponent, factor
