"""Layers of low rank, applied factor by factor."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import DenseOperand, Operand
from reticule.forms import Factored


class FactoredOperand(Operand):
    """The operands of the factors; their product is formed only where a layer has groups."""

    def __init__(
        self, form: Factored, rows: Operand, core: Operand, columns: Operand | None
    ) -> None:
        super().__init__(form.shape)
        self.form, self.last, self.core, self.first = form, rows, core, columns

    @property
    def nbytes(self) -> int:
        first = 0 if self.first is None else self.first.nbytes
        return first + self.core.nbytes + self.last.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        return self.form.restored(first, last)

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        """Three thin products, or two."""
        if self.first is not None:
            x = x @ self.first.matrix(0, self.first.rows)
        return self.last.linear(self.core.linear(x, threads), threads)

    def expanded(self) -> Operand:
        return DenseOperand(self.form.dense())

    def ready(self, groups: int) -> Operand:
        """Itself: see :meth:`narrowed`; with groups, the restored kernels."""
        return self if groups == 1 else self.expanded()

    def narrowed(self, x: np.ndarray) -> np.ndarray:
        """Images (N, I, H, W) with the channels that the core reads (N, S, H, W).

        That is a convolution by 1 x 1 without a bias, so that what is padded with zeros
        afterwards is what would have come of zeros padded before.
        """
        if self.first is None:
            return x
        images, channels, height, width = x.shape
        columns = self.first.matrix(0, self.first.rows)
        out = np.matmul(columns.T, x.reshape(images, channels, height * width))
        return out.reshape(images, columns.shape[1], height, width)

    def widened(self, x: np.ndarray, threads: int) -> np.ndarray:
        """What the core put out (N, R, P), with the channels of the layer (N, O, P)."""
        return self.last.convolve(x[:, None], threads)
