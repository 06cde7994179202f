"""Weights that were pruned by the block: rows in strips of four that share their columns."""

from __future__ import annotations

import numpy as np

from reticule import _native
from reticule.engine.operands.base import Operand
from reticule.forms import Codebook, Dense, Sparse

STRIP = 4


class StripsOperand(Operand):
    """Columns of each strip, and for each column four values, or codes and a table."""

    def __init__(self, form: Sparse, order: np.ndarray) -> None:
        """``order`` is that of :func:`strips_of`."""
        super().__init__(form.shape)
        self.indptr = (form.indptr[::STRIP] // STRIP).astype(np.uint32)
        self.places = form.columns[order[:, 0]]
        inner = form.values
        self.table = np.empty(0, np.float32)
        if isinstance(inner, Codebook):
            self.values = inner.indices[order].reshape(-1)
            self.table = inner.centroids.dense()
        else:
            self.values = inner.dense()[order].reshape(-1)

    @property
    def nbytes(self) -> int:
        arrays = (self.indptr, self.places, self.values, self.table)
        return sum(array.nbytes for array in arrays)

    def matrix(self, first: int, last: int) -> np.ndarray:
        begin, end = first // STRIP, -(-last // STRIP)
        counts: np.ndarray = np.diff(self.indptr[begin : end + 1].astype(np.int64))
        some = slice(int(self.indptr[begin]), int(self.indptr[end]))
        values = self.values.reshape(-1, STRIP)[some]
        if self.table.size:
            values = self.table[values]
        out = np.zeros((counts.size, STRIP, self.columns), np.float32)
        out[np.repeat(np.arange(counts.size), counts), :, self.places[some]] = values
        return out.reshape(-1, self.columns)[first - STRIP * begin : last - STRIP * begin]

    def expanded(self) -> Operand:
        return self

    def ready(self, groups: int) -> Operand:
        """Strips across the border of two groups have no input in common."""
        if self.rows // groups % STRIP:
            return super().expanded()
        return self

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        strips = np.ascontiguousarray(x.T)[None, None]
        return np.ascontiguousarray(self.convolve(strips, threads)[0].T)

    def convolve(self, columns: np.ndarray, threads: int) -> np.ndarray:
        images, _, depth, width = columns.shape
        if depth != self.columns:  # the native kernel trusts column numbers to be below this
            raise ValueError(f"{depth} activations for {self.columns} columns")
        out = np.empty((images, self.rows, width), np.float32)
        arrays = self.indptr, self.places, self.values, self.table
        _native.block_columns(*arrays, np.ascontiguousarray(columns), out, threads)
        return out


def strips_of(form: Sparse) -> np.ndarray | None:
    """Where the values of each strip are (columns of all strips, 4); None if it has no strips.

    All rows of a strip must store the same columns, and values be float32 or codes.
    """
    inner = form.values
    coded = isinstance(inner, Codebook)
    plain = isinstance(inner, Dense) and inner.values.dtype == np.float32
    rows = form.indptr.size - 1
    if not (coded or plain) or rows % STRIP or not form.columns.size:
        return None
    starts = form.indptr[:-1].astype(np.int64).reshape(-1, STRIP)
    counts: np.ndarray = np.diff(form.indptr.astype(np.int64)).reshape(-1, STRIP)
    if (counts != counts[:, :1]).any():
        return None
    before = np.cumsum(counts[:, 0]) - counts[:, 0]
    order = np.repeat(starts - before[:, None], counts[:, 0], axis=0)
    order += np.arange(len(order))[:, None]
    columns = form.columns[order]
    return order if (columns == columns[:, :1]).all() else None
