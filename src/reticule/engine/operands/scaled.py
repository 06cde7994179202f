"""Rows with scales of their own."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import Operand
from reticule.engine.operands.generic import resident
from reticule.forms import Scaled


class ScaledOperand(Operand):
    """The operand of the values, and a scale for each row."""

    def __init__(self, form: Scaled, values: Operand) -> None:
        super().__init__(form.shape)
        self.form, self.values = form, values

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + resident(self.form.scales)

    def matrix(self, first: int, last: int) -> np.ndarray:
        # A vector is one row of the matrix, but has a scale for each entry.
        scales = self.form.scales.dense().reshape(self.rows, -1)
        return self.values.matrix(first, last) * scales[first:last]

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        """Outputs are scaled, which takes less than scaling rows."""
        return self.values.linear(x, threads) * self.form.scales.dense()
