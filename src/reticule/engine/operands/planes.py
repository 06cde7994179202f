"""Magnitudes without their lowest bits."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import Operand
from reticule.forms import BitPlanes


class PlanesOperand(Operand):
    """Levels, the bits that each code block lacks, and a step."""

    def __init__(self, form: BitPlanes) -> None:
        super().__init__(form.shape)
        self.form = form
        self.levels = form.levels.reshape(self.rows, self.columns)

    @property
    def nbytes(self) -> int:
        return self.levels.nbytes + self.form.planes.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        return self.form.rows(self.levels[first:last], first)
