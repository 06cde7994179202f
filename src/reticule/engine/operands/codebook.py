"""Weights that share a few values."""

from __future__ import annotations

import numpy as np

from reticule import _native
from reticule.engine.operands.base import Operand
from reticule.forms import Codebook


class CodebookOperand(Operand):
    """Indices and a table of float32 centroids."""

    def __init__(self, form: Codebook) -> None:
        super().__init__(form.shape)
        self.indices = form.indices.reshape(self.rows, self.columns)
        self.table = form.centroids.dense()

    @property
    def nbytes(self) -> int:
        return self.indices.nbytes + self.table.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        out = np.empty((last - first) * self.columns, np.float32)
        _native.lookup(self.indices[first:last].reshape(-1), self.table, out)
        return out.reshape(last - first, self.columns)
