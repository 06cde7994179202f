"""Bit planes: magnitudes of which each code block keeps only the upper bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape, frozen, matrix_shape
from reticule.forms.grids import LARGEST_WEIGHT

LARGEST_BLOCK = 64
MOST_PLANES = 23
LARGEST_MAGNITUDE = (1 << 23) - 1  # a float32 holds every odd integer up to twice that


@dataclass(frozen=True, eq=False)
class BitPlanes(Form):
    """Magnitudes with sign, cut off below a bit plane that each code block has for itself.

    The tensor as a matrix (:func:`~reticule.forms.base.matrix_shape`) is divided into code
    blocks of ``block`` rows and columns; ``planes`` (uint8, one for each block) tells how many
    of the lowest bits of the magnitudes floor(abs(weight) / step) are cut.  ``levels``, in the
    tensor's shape, are what is left, with sign.  A weight q of a block that lacks t bits is
    restored in the middle of what q can stand for:

        sign(q) (abs(q) + 1/2) 2^t step,   and 0 if q = 0

    So the interval of zero, the dead zone, is twice as wide as the others.

    Source: Taubman, "High performance scalable image compression with EBCOT", 2000.

    >>> BitPlanes(np.array([[3, 0], [-1, 0]]), np.array([[1]]), 0.5, 2).dense()
    array([[ 3.5,  0. ],
           [-1.5,  0. ]], dtype=float32)
    """

    levels: np.ndarray
    planes: np.ndarray
    step: float
    block: int = LARGEST_BLOCK

    def __post_init__(self) -> None:
        step = float(np.float32(self.step))
        if not (np.isfinite(step) and step > 0):
            raise ValueError(f"the step must be a positive float32, not {self.step}")
        if not 1 <= self.block <= LARGEST_BLOCK:
            raise ValueError(f"code blocks of {self.block}; 1 to {LARGEST_BLOCK} are possible")
        if self.planes.shape != blocks_of(self.levels.shape, self.block):
            raise ValueError(f"{self.planes.shape} code blocks for {self.levels.shape} weights")
        cut = int(self.planes.max(initial=0))
        if int(self.planes.min(initial=0)) < 0 or cut > MOST_PLANES:
            raise ValueError(f"bit planes must be 0 to {MOST_PLANES}")
        low, high = int(self.levels.min(initial=0)), int(self.levels.max(initial=0))
        largest = max(-low, high)
        if largest > LARGEST_MAGNITUDE or (largest + 0.5) * 2.0**cut * step > LARGEST_WEIGHT:
            raise ValueError(f"levels from {low} to {high} with a step of {step:g} are too large")
        narrow = np.promote_types(np.min_scalar_type(min(low, -1)), np.min_scalar_type(-high - 1))
        object.__setattr__(self, "levels", frozen(self.levels.astype(narrow, copy=False)))
        object.__setattr__(self, "planes", frozen(self.planes.astype(np.uint8, copy=False)))
        object.__setattr__(self, "step", step)

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return tuple(self.levels.shape)

    @property
    def name(self) -> str:
        return "bitplanes"

    def dense(self) -> np.ndarray:
        rows, columns = matrix_shape(self.shape)
        return self.rows(self.levels.reshape(rows, columns), 0).reshape(self.shape)

    def rows(self, levels: np.ndarray, first: int) -> np.ndarray:
        """Weights (float32) of some rows of the matrix of levels, the first of this number."""
        down = (first + np.arange(len(levels))) // self.block
        across = np.arange(levels.shape[1]) // self.block
        halves = levels.astype(np.float32)  # abs(q) + 1/2 is exact
        halves += np.float32(0.5) * np.sign(halves)
        # A power of two changes no bit of the product.
        units = np.ldexp(np.float32(1), self.planes.astype(np.int32))
        return halves * units[down[:, None], across] * np.float32(self.step)

    @property
    def nonzero(self) -> int:
        return int(np.count_nonzero(self.levels))

    @property
    def bits(self) -> int:
        """At the width of the largest level, and 5 bits for each code block."""
        largest = int(np.abs(self.levels.astype(np.int32)).max(initial=0))
        return self.size * (2 * largest).bit_length() + 5 * self.planes.size + 32


def blocks_of(shape: Shape, block: int) -> tuple[int, int]:
    """Code blocks of a tensor, down and across.

    >>> blocks_of((100, 3, 5, 5), 64)
    (2, 2)
    """
    rows, columns = matrix_shape(shape)
    return -(-rows // block), -(-columns // block)
