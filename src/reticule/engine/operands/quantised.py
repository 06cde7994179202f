"""Weights on a grid."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import Operand
from reticule.forms import Quantised


class QuantisedOperand(Operand):
    """Levels and a step."""

    def __init__(self, form: Quantised) -> None:
        super().__init__(form.shape)
        self.levels = form.levels.reshape(self.rows, self.columns)
        self.step = np.float32(form.step)

    @property
    def nbytes(self) -> int:
        return self.levels.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        out = self.levels[first:last].astype(np.float32)
        out *= self.step
        return out
