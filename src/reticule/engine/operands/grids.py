"""Weights as coefficients of images."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import Operand
from reticule.forms import Lapped, Wavelet


class ImagesOperand(Operand):
    """The operand of the coefficients; images are restored when they are used.

    Rows are restored by the image: where one image is the whole matrix, all of it is there
    for the time that the layer runs.
    """

    def __init__(self, form: Lapped | Wavelet, coefficients: Operand) -> None:
        super().__init__(form.shape)
        self.form = form
        self.coefficients = coefficients
        image = form.grid[0] * form.grid[1]
        if self.columns and self.columns % image == 0:
            self.step = 1
        elif self.columns and image % self.columns == 0:
            self.step = image // self.columns
        else:
            self.step = max(self.rows, 1)

    @property
    def nbytes(self) -> int:
        return self.coefficients.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        start = first - first % self.step
        end = min(last + -last % self.step, self.rows)
        rows = self.form.restored(self.coefficients.matrix(start, end))
        return rows[first - start : last - start]

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        """Images of many rows are restored once, not for every block of rows."""
        if self.step > 1:
            return self.expanded().linear(x, threads)
        return super().linear(x, threads)
