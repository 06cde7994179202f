"""How many bit planes each code block keeps: rate-distortion optimal truncation.

At a truncation point t a block b has the distortion D_b(t), in loss of the answers, and the
rate R_b(t), in bits of the coder.  Least D for a total rate, or the least rate for a total D,
is had where each block minimises D_b(t) + lambda R_b(t) for one lambda: the points on the
convex hull of its (R, D) whose slopes are on either side of -lambda (post-compression
rate-distortion optimisation; Taubman, "EBCOT", 2000, section IV).

Two things differ from JPEG 2000.  Truncation points are whole bit planes, so the lowest step is
chosen by cost too.  And planes are not coded one after the other, in three passes with an
arithmetic coder: what is left of a coefficient is coded at once by the coder of all
files, whose decisions (zero or not, sign, rungs of the magnitude) in the context of
neighbours do what the passes do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from reticule.codec.rates import REACH
from reticule.forms import BitPlanes
from reticule.forms.base import matrix_shape
from reticule.forms.planes import LARGEST_MAGNITUDE, blocks_of
from reticule.forms.quantised import short_step
from reticule.methods.quantise.layers import coder_rates

FINEST, POINTS = 0.25, 5  # truncation points: steps of 1/4, 1/2, 1, 2 and 4 times the best one
START = 1.2  # times the expected step: where the search for the best one begins
_STRIDE = 2.0**0.25
_MOST_STEPS = 12
_SEARCHED = 1 << 14  # weights that the search for it looks at
_BIT = 256  # rates are in 1/256 bit
_SIDE = 2.0  # bits for the planes of a block


@dataclass(frozen=True)
class Truncated:
    """Coefficients cut off, and what that costs: loss + lambda * bits."""

    form: BitPlanes
    loss: float
    bits: float
    cost: float


def truncate(
    values: np.ndarray, matters: np.ndarray, lam: float, block: int, factor: float
) -> Truncated:
    """Bit planes of coefficients with little loss + ``lam`` * bits.

    ``matters`` (rows, columns) is the loss of a squared error of one in each, ``factor`` that
    of :func:`best_factor`.
    """
    shape = matrix_shape(values.shape)
    rows = values.reshape(shape)
    step = expected_step(values, matters, lam, FINEST * factor)
    signs, sizes = np.sign(rows).astype(np.int32), _magnitudes(rows, step)
    sums = []
    for cut in range(POINTS):
        steps = np.full((1, 1), step * 2.0**cut)
        _, loss, bits = _decided(rows, signs * (sizes >> cut), steps, matters, lam, values.shape)
        sums.append(by_block(loss + lam * bits, block))
    planes = np.argmin(np.array(sums), axis=0)
    cuts = spread(planes, shape, block)
    steps = step * 2.0**cuts
    levels, loss, bits = _decided(rows, signs * (sizes >> cuts), steps, matters, lam, values.shape)
    form = _form(levels.reshape(values.shape), planes, step, block)
    total = float(bits.sum()) + _SIDE * planes.size * (np.ptp(form.planes) > 0)
    return Truncated(form, float(loss.sum()), total, float(loss.sum()) + lam * total)


def best_factor(values: np.ndarray, matters: np.ndarray, lam: float) -> tuple[float, float]:
    """About the least loss + ``lam`` * bits, and the step for it over the expected one.

    As if all blocks were cut at the same plane; by hill climbing, on some of the rows.
    """
    usual = expected_step(values, matters, lam, START)
    rows = values.reshape(matrix_shape(values.shape))
    most = max(1, _SEARCHED // max(rows.shape[1], 1))
    some = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    shape = (len(some), *values.shape[1:]) if values.ndim > 1 else values.shape
    part, weight = rows[some], matters[some]
    costs: dict[int, float] = {}

    def cost(turn: int) -> float:
        if turn not in costs:
            step = np.full((1, 1), usual * _STRIDE**turn)
            levels = _magnitudes(part, step[0, 0]) * np.sign(part).astype(np.int32)
            _, loss, bits = _decided(part, levels, step, weight, lam, shape)
            costs[turn] = float(loss.sum() + lam * bits.sum())
        return costs[turn]

    at = 0
    while len(costs) < _MOST_STEPS:
        better = min((at - 1, at, at + 1), key=cost)
        if better == at:
            break
        at = better
    at = min(costs, key=lambda turn: costs[turn])
    return costs[at] * len(rows) / len(some), START * _STRIDE**at


def expected_step(values: np.ndarray, matters: np.ndarray, lam: float, factor: float) -> float:
    """``factor`` times the step at which a bit is worth lambda, if all weights matter alike."""
    step = factor * sqrt(6 * lam / (log(2) * max(float(matters.mean()), 1e-300)))
    largest = float(np.abs(values).max(initial=0.0))
    return short_step(float(np.clip(step, largest * 2.0**-20, largest * 4)))


def _magnitudes(rows: np.ndarray, step: float) -> np.ndarray:
    return np.minimum(np.abs(rows) / step, LARGEST_MAGNITUDE).astype(np.int32)


def _decided(
    rows: np.ndarray,
    levels: np.ndarray,
    steps: np.ndarray,
    matters: np.ndarray,
    lam: float,
    shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, some of them zero because that costs less; loss and bits of each."""
    if not levels.any():
        return levels, matters * rows**2, np.zeros(rows.shape)
    rates = coder_rates(levels.reshape(shape), 0)[:, 0].reshape(*rows.shape, -1)
    bits, nothing = bits_of(rates, levels), rates[..., REACH] / _BIT
    restored = np.sign(levels) * (np.abs(levels) + 0.5) * steps
    loss, gone = matters * (rows - restored) ** 2, matters * rows**2
    zero = gone + lam * nothing <= loss + lam * bits
    return (
        np.where(zero, 0, levels),
        np.where(zero, gone, loss),
        np.where(zero, nothing, bits),
    )


def bits_of(rates: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Bits of levels by tables (..., 13) of those from -6 to 6, in 1/256 bit.

    Beyond a table they rise as those of its last entries do, and later as an exponential
    Golomb code's.
    """
    inner = np.clip(levels, -REACH, REACH)
    bits = np.take_along_axis(rates, (inner + REACH)[..., None].astype(np.int64), -1)
    bits = bits[..., 0].astype(np.float64)
    beyond = np.abs(levels) - REACH
    if (beyond > 0).any():
        four = np.where(levels > 0, REACH + 2, REACH - 2)[..., None].astype(np.int64)
        rise = (bits - np.take_along_axis(rates, four, -1)[..., 0]) / 4
        straight = np.maximum(rise, 1) * np.maximum(beyond, 0)
        bits += np.minimum(straight, 2 * _BIT * np.log2(1 + np.maximum(beyond, 0)))
    return bits / _BIT


def by_block(values: np.ndarray, block: int) -> np.ndarray:
    """Sums over code blocks: (blocks down, blocks across).

    >>> by_block(np.ones((3, 4)), 2).tolist()
    [[4.0, 4.0], [2.0, 2.0]]
    """
    down = np.add.reduceat(values, np.arange(0, values.shape[0], block), axis=0)
    return np.add.reduceat(down, np.arange(0, values.shape[1], block), axis=1)


def spread(planes: np.ndarray, shape: tuple[int, int], block: int) -> np.ndarray:
    """What holds for each block, at each of its entries."""
    rows, columns = (np.arange(length) // block for length in shape)
    return planes[rows[:, None], columns]


def _form(levels: np.ndarray, planes: np.ndarray, step: float, block: int) -> BitPlanes:
    """What no block keeps goes into the step; a block without levels has what others have."""
    empty = by_block((levels != 0).reshape(matrix_shape(levels.shape)).astype(int), block) == 0
    if empty.all():
        return BitPlanes(levels, np.zeros(blocks_of(levels.shape, block), np.uint8), step, block)
    usual = int(np.bincount(planes[~empty]).argmax())
    planes = np.where(empty, usual, planes)
    least = int(planes.min())
    return BitPlanes(levels, planes - least, step * 2.0**least, block)
