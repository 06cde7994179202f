"""Blocks of a block model: a hint for the coder of a tensor, which changes no value."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from reticule.forms.base import Shape

MOST_PAIRS = 1024
"""Of a block of rows and a block of columns."""


@dataclass(frozen=True, eq=False)
class BlockLabels:
    """The block of each output channel (``rows``) and of each input channel (``columns``).

    Weights between the same two blocks are alike in how many are stored, or how large they are.
    Raises ValueError for what is not two vectors of integers from 0 to 1023.

    >>> labels = BlockLabels([0, 0, 1], [0, 1])
    >>> labels.blocks, labels.fits((3, 2)), labels.fits((2, 3))
    ((2, 2), True, False)
    >>> labels.taken([2, 0], 0).rows.tolist()
    [1, 0]
    """

    rows: np.ndarray
    columns: np.ndarray

    def __post_init__(self) -> None:
        for side in ("rows", "columns"):
            labels = np.asarray(getattr(self, side))
            if labels.ndim != 1 or labels.dtype.kind not in "ui":
                raise ValueError(f"labels of {side} are no vector of integers")
            if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < MOST_PAIRS:
                raise ValueError(f"labels of {side} go beyond 0 to {MOST_PAIRS - 1}")
            object.__setattr__(self, side, labels.astype(np.int32))

    @property
    def blocks(self) -> tuple[int, int]:
        """How many of rows and of columns."""
        return 1 + int(self.rows.max(initial=0)), 1 + int(self.columns.max(initial=0))

    def fits(self, shape: Shape) -> bool:
        """Whether a tensor of this shape can be stored with these labels."""
        if len(shape) < 2 or not prod(shape) or shape[:2] != (self.rows.size, self.columns.size):
            return False
        few = all(blocks <= axis for blocks, axis in zip(self.blocks, shape, strict=False))
        return few and prod(self.blocks) <= MOST_PAIRS

    def taken(self, index: np.ndarray, axis: int) -> BlockLabels:
        """Labels of a tensor of which some lines of an axis went or changed places."""
        sides = [self.rows, self.columns]
        if axis < 2:
            sides[axis] = np.unique(sides[axis][index], return_inverse=True)[1]
        return BlockLabels(*sides)
