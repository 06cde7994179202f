"""Quantised: weights on a uniform grid, level times step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape, frozen

TRELLIS_STATES = (0, 8, 32, 64)
LARGEST_LEVEL = 1 << 24  # a float32 holds every integer up to here
_LARGEST_WEIGHT = float(np.finfo(np.float32).max)
TRELLIS_GROUP = 1 << 16  # weights, after which the path of a trellis starts anew


@dataclass(frozen=True, eq=False)
class Quantised(Form):
    """Each weight is an integer level times the tensor's step: one float32 product.

    ``levels`` is a signed array in the tensor's shape, ``step`` a positive float32.
    With ``states`` 8, 32 or 64 the levels follow a path through the trellis of that
    many states (trellis-coded quantisation, Marcellin & Fischer 1990): a finer grid, of
    which only every other level can be reached at each weight, so that a file stores
    half of it.  Whoever writes the form checks the path.

    >>> Quantised(np.array([[3, 0], [-1, 2]]), 0.25).dense()
    array([[ 0.75,  0.  ],
           [-0.25,  0.5 ]], dtype=float32)
    """

    levels: np.ndarray
    step: float
    states: int = 0

    def __post_init__(self) -> None:
        step = float(np.float32(self.step))
        if not (np.isfinite(step) and step > 0):
            raise ValueError(f"the step must be a positive float32, not {self.step}")
        if self.states not in TRELLIS_STATES:
            raise ValueError(f"there is no trellis of {self.states} states")
        low, high = int(self.levels.min(initial=0)), int(self.levels.max(initial=0))
        if max(-low, high) > LARGEST_LEVEL or max(-low, high) * step > _LARGEST_WEIGHT:
            raise ValueError(f"levels from {low} to {high} with a step of {step:g} are too large")
        narrow = np.promote_types(np.min_scalar_type(min(low, -1)), np.min_scalar_type(-high - 1))
        object.__setattr__(self, "levels", frozen(self.levels.astype(narrow, copy=False)))
        object.__setattr__(self, "step", step)

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return tuple(self.levels.shape)

    @property
    def name(self) -> str:
        return f"tcq{self.states}" if self.states else "quantised"

    def dense(self) -> np.ndarray:
        return self.levels.astype(np.float32) * np.float32(self.step)

    @property
    def nonzero(self) -> int:
        return int(np.count_nonzero(self.levels))

    @property
    def bits(self) -> int:
        """At the width of the largest level; a trellis saves one bit a weight."""
        largest = int(np.abs(self.levels.astype(np.int32)).max(initial=0))
        width = (2 * largest).bit_length()
        return self.size * max(width - bool(self.states), 0) + 32


def short_step(step: float, *, up: bool = False) -> float:
    """A positive step near this one that takes two bytes in a file: a bfloat16.

    The nearest, or with ``up`` the next that is not smaller.

    >>> short_step(0.3), short_step(0.302, up=True)
    (0.30078125, 0.302734375)
    """
    bits = int(np.array(max(step, 1e-36), np.float32).view(np.uint32))
    added = 0xFFFF if up else 0x8000
    return float(np.array((bits + added) & 0xFFFF0000, np.uint32).view(np.float32))


def trellis_rows(columns: int) -> int:
    """Rows of a matrix after which the path of a trellis starts anew.

    >>> trellis_rows(576), trellis_rows(1 << 20)
    (114, 1)
    """
    return max(1, -(-TRELLIS_GROUP // max(columns, 1)))
