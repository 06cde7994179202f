"""Wavelets by lifting: the CDF 5/3 and 9/7 filters of JPEG 2000, at any length.

A signal x is divided into even samples s[n] = x[2n] and odd ones d[n] = x[2n + 1].  Steps

    d[n] += a (s[n] + s[n + 1])   and   s[n] += b (d[n - 1] + d[n])

take turns; what is beyond an end is mirrored about the last sample, so that there are as
many coefficients as samples.  5/3 has one pair of steps, 9/7 two:

======  ===================================================================
kind    factors
======  ===================================================================
5/3     -1/2, 1/4
9/7     -1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971
======  ===================================================================

Whole numbers stay whole with 5/3: its steps are rounded as in the reversible transform of
JPEG 2000, d[n] -= floor((s[n] + s[n + 1]) / 2), s[n] += floor((d[n - 1] + d[n] + 2) / 4).

Source: Sweldens, "The lifting scheme", 1996; Daubechies and Sweldens, 1998; ISO/IEC 15444-1,
annex F.
"""

from __future__ import annotations

import numpy as np

FACTORS: dict[str, tuple[float, ...]] = {
    "5/3": (-0.5, 0.25),
    "9/7": (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971),
}
MOST_LEVELS = 8
_ONE = 1 << 16

# L2 norms of the synthesis basis of these steps, times 2^16: of the low band, and of the high
# band, after 1, 2, ..., 8 levels.
NORMS = {
    "5/3": (
        (80265, 108679, 151939, 214249, 302772, 428105, 605405, 856162),
        (55561, 62924, 82532, 114322, 160817, 227125, 321095, 454059),
    ),
    "9/7": (
        (74696, 87927, 102130, 117764, 135490, 155791, 179107, 205905),
        (58149, 64453, 76819, 89806, 103755, 119433, 137346, 157907),
    ),
}


def split(x: np.ndarray, kind: str) -> np.ndarray:
    """Low band, then high band, of the last axis: ceil(n / 2) and floor(n / 2) coefficients.

    >>> split(np.array([1, 2, 3, 4, 9]), "5/3")
    array([ 1,  3,  8,  0, -2])
    """
    if x.shape[-1] < 2:
        return x
    low, high = x[..., ::2].copy(), x[..., 1::2].copy()
    for number, factor in enumerate(FACTORS[kind]):
        if number % 2 == 0:
            high += _step(_behind(low, high.shape[-1]), factor)
        else:
            low += _step(_around(high, low.shape[-1]), factor)
    return np.concatenate([low, high], axis=-1)


def joined(bands: np.ndarray, kind: str) -> np.ndarray:
    """Inverse of :func:`split`.

    >>> joined(np.array([1, 3, 8, 0, -2]), "5/3")
    array([1, 2, 3, 4, 9])
    """
    length = bands.shape[-1]
    if length < 2:
        return bands
    half = (length + 1) // 2
    low, high = bands[..., :half].copy(), bands[..., half:].copy()
    for number, factor in reversed(list(enumerate(FACTORS[kind]))):
        if number % 2 == 0:
            high -= _step(_behind(low, high.shape[-1]), factor)
        else:
            low -= _step(_around(high, low.shape[-1]), factor)
    out = np.empty_like(bands)
    out[..., ::2], out[..., 1::2] = low, high
    return out


def _behind(low: np.ndarray, count: int) -> np.ndarray:
    """s[n] + s[n + 1]; the last one is its own neighbour behind the end."""
    after = low[..., 1:]
    if after.shape[-1] < count:
        after = np.concatenate([after, low[..., -1:]], axis=-1)
    return low[..., :count] + after


def _around(high: np.ndarray, count: int) -> np.ndarray:
    """d[n - 1] + d[n], mirrored at both ends."""
    before = np.concatenate([high[..., :1], high], axis=-1)[..., :count]
    after = high
    if after.shape[-1] < count:
        after = np.concatenate([high, high[..., -1:]], axis=-1)
    return before + after


def _step(pairs: np.ndarray, factor: float) -> np.ndarray:
    """``factor`` times the sums of pairs; for whole numbers rounded, 5/3 only."""
    if not np.issubdtype(pairs.dtype, np.integer):
        return factor * pairs
    if factor == -0.5:
        return -(pairs >> 1)
    if factor == 0.25:
        return (pairs + 2) >> 2
    raise TypeError("only the 5/3 wavelet takes whole numbers to whole numbers")


def scales(length: int, levels: int, kind: str) -> tuple[tuple[int, np.ndarray], ...]:
    """For each level the length of an axis before it, and the norms of its coefficients.

    An axis of length 1 is not split any more.  Norms are in 2^-16.

    >>> [length for length, _ in scales(5, 4, "5/3")]
    [5, 3, 2, 1]
    """
    lows, highs = NORMS[kind]
    found, splits = [], 0
    for _ in range(levels):
        norms = np.full(length, lows[splits - 1] if splits else _ONE, np.int64)
        if length > 1:
            norms[: (length + 1) // 2] = lows[splits]
            norms[(length + 1) // 2 :] = highs[splits]
        found.append((length, norms))
        if length > 1:
            splits += 1
            length = (length + 1) // 2
    return tuple(found)


def norms_of(grid: tuple[int, int], levels: int, kind: str) -> np.ndarray:
    """The norm of each coefficient of an image (float64): products of two multiples of 2^-16."""
    out = np.ones(grid)
    down, across = (scales(length, levels, kind) for length in grid)
    for (height, along_y), (width, along_x) in zip(down, across, strict=True):
        out[:height, :width] = (along_y / _ONE)[:, None] * (along_x / _ONE)
    return out
