"""Pruned weights, multiplied as they lie in memory."""

from __future__ import annotations

import numpy as np

from reticule import _native
from reticule.engine.operands.base import Operand
from reticule.engine.operands.generic import resident
from reticule.forms import Codebook, Dense, Sparse

FEW_ROWS = 4
"""Below this many activations, a sparse product is faster vector by vector."""


class SparseOperand(Operand):
    """Compressed rows whose values are float32, or codes and a table.

    Float16 values, or values in any other form, stay as they are and are expanded for
    the duration of a call: the stored values only, never the zeros between them.
    """

    def __init__(self, form: Sparse) -> None:
        super().__init__(form.shape)
        self.form = form
        self.table = np.empty(0, np.float32)
        self.values: np.ndarray | None = None
        if isinstance(form.values, Codebook):
            self.values = form.values.indices
            self.table = form.values.centroids.dense()
        elif isinstance(form.values, Dense) and form.values.values.dtype == np.float32:
            self.values = form.values.values

    @property
    def nbytes(self) -> int:
        positions = self.form.indptr.nbytes + self.form.columns.nbytes
        if self.values is None:
            return positions + resident(self.form.values)
        return positions + self.values.nbytes + self.table.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        return self.form.dense().reshape(self.rows, self.columns)[first:last]

    def expanded(self) -> Operand:
        return self

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        values = self.form.values.dense() if self.values is None else self.values
        return self.form.indptr, self.form.columns, values, self.table

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        if x.shape[1] != self.columns:
            raise ValueError(f"{x.shape[1]} activations for {self.columns} columns")
        if x.shape[0] >= FEW_ROWS:
            strips = np.ascontiguousarray(x.T)[None, None]
            return np.ascontiguousarray(self.convolve(strips, threads)[0].T)
        out = np.empty((x.shape[0], self.rows), np.float32)
        _native.sparse_rows(*self._arrays(), np.ascontiguousarray(x), out, threads)
        return out

    def convolve(self, columns: np.ndarray, threads: int) -> np.ndarray:
        images, _, depth, width = columns.shape
        if depth != self.columns:  # the native kernel trusts column numbers to be below this
            raise ValueError(f"{depth} activations for {self.columns} columns")
        out = np.empty((images, self.rows, width), np.float32)
        _native.sparse_columns(*self._arrays(), np.ascontiguousarray(columns), out, threads)
        return out
