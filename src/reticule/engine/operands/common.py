"""Kernels with a common part and one of their own."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import DenseOperand, Operand
from reticule.engine.operands.sparse import SparseOperand
from reticule.forms import Codebook, Common, Dense, Sparse
from reticule.forms.base import smallest_uint


class CommonOperand(Operand):
    """Labels, and the operands of centres and residuals."""

    def __init__(self, form: Common, centres: Operand, residual: Operand) -> None:
        super().__init__(form.shape)
        self.form, self.centres, self.residual = form, centres, residual

    @property
    def nbytes(self) -> int:
        return self.form.labels.nbytes + self.centres.nbytes + self.residual.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        labels = self.form.labels.reshape(self.rows, -1)[first:last]
        if not labels.size or not self.columns:
            return np.zeros((last - first, self.columns), np.float32)
        centres = self.centres.matrix(0, self.centres.rows)
        return centres[labels].reshape(last - first, -1) + self.residual.matrix(first, last)

    def ready(self, groups: int) -> Operand:
        if self.form.responds and self.form.multiplications(groups) < self.form.size:
            return self.responding()
        return self.expanded()

    def responding(self) -> Operand:
        """An operand that forms the response of each centre once for each channel."""
        return _Responding(self.shape, self.form.labels, self.centres, self.residual)


class _Responding(Operand):
    """For the time a layer runs: which response of which channel goes to which output."""

    def __init__(
        self, shape: tuple[int, ...], labels: np.ndarray, centres: Operand, residual: Operand
    ) -> None:
        super().__init__(shape)
        self.centres, self.residual = centres, residual.expanded()
        labels = labels.reshape(self.rows, -1)
        rows, channels = labels.shape
        count = centres.rows
        columns = labels.astype(smallest_uint(max(channels * count - 1, 256)))
        columns += (np.arange(channels) * count).astype(columns.dtype)
        ones = Codebook(np.zeros(labels.size, np.uint8), Dense(np.ones(1, np.float32)))
        starts = np.arange(rows + 1, dtype=np.uint32) * np.uint32(channels)
        self.chosen = SparseOperand(
            Sparse((rows, channels * count), starts, columns.reshape(-1), ones)
        )

    @property
    def nbytes(self) -> int:
        return self.centres.nbytes + self.residual.nbytes + self.chosen.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        raise NotImplementedError("only convolves")

    def convolve(self, columns: np.ndarray, threads: int) -> np.ndarray:
        images, groups, _, width = columns.shape
        windows = columns.reshape(-1, 1, self.centres.columns, width)
        centres = self.centres.expanded()
        if isinstance(centres, DenseOperand):
            responses = np.matmul(centres.matrix(0, centres.rows), windows[:, 0])
        else:
            responses = centres.convolve(windows, threads)
        responses = responses.reshape(images, groups, -1, width)
        out = self.chosen.convolve(responses, threads)
        out += self.residual.convolve(columns, threads)
        return out
