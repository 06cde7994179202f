"""The run form of weight tensors: how each form is held in memory and multiplied with.

An operand is made once, when a network is loaded.  It shares the arrays of its form, so
that weights are never larger in memory than their form needs:

=================  ===========================  =========================================
form               resident                     while a layer runs
=================  ===========================  =========================================
dense              float32, or float16          nothing; float16: expanded, as below
codebook           uint8/uint16 and table       linear: a block of rows at a time;
                                                convolution: this layer's matrix
sparse             row pointers, columns        nothing: multiplied as it lies in memory,
                   (uint16/uint32), and values  codes of a codebook included
quantised          int8/int16/int32 levels      as codebook
spectral           its coefficients' operand    as codebook, transformed
any other form     the form's own arrays        expanded, by the form's ``dense()``
=================  ===========================  =========================================

A new form runs through the last row at once; one entry in ``RUN_FORMS`` gives it an
operand of its own.

>>> import numpy as np
>>> from reticule.forms import Sparse
>>> weight = np.array([[0, 2, 0], [0, 0, 0]], "f4")
>>> operand = operand_of(Sparse.keep(weight, weight != 0))
>>> operand.linear(np.array([[1, 10, 100]], "f4"), threads=1)
array([[20.,  0.]], dtype=float32)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from reticule import _native
from reticule.forms import Codebook, Dense, Form, Quantised, Sparse, Spectral, matrix_shape
from reticule.forms.spectral import dct_basis

BLOCK_BYTES = 4 << 20
"""Scratch for one block of expanded rows of a linear layer."""

FEW_ROWS = 4
"""Below this many activations, a sparse product is faster vector by vector."""


class Operand(ABC):
    """A weight tensor, ready to be multiplied with: the matrix of ``matrix_shape(shape)``."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.rows, self.columns = matrix_shape(self.shape)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that stay in memory as long as the operand does."""

    @abstractmethod
    def matrix(self, first: int, last: int) -> np.ndarray:
        """Rows ``first`` to ``last`` as float32 (last - first, columns): a view, or scratch."""

    def dense(self) -> np.ndarray:
        """The whole tensor as float32, in its shape: a view, or scratch."""
        return self.matrix(0, self.rows).reshape(self.shape)

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        """x (R, K) by the transposed matrix: (R, M)."""
        out = np.empty((x.shape[0], self.rows), np.float32)
        block = max(1, BLOCK_BYTES // (4 * max(self.columns, 1)))
        for first in range(0, self.rows, block):
            last = min(first + block, self.rows)
            out[:, first:last] = x @ self.matrix(first, last).T
        return out

    def expanded(self) -> Operand:
        """The operand to call ``convolve`` on for the duration of one layer."""
        return DenseOperand(self.dense())

    def convolve(self, columns: np.ndarray, threads: int) -> np.ndarray:
        """The matrix, its rows cut into G groups, by columns (N, G, K, P): (N, M, P)."""
        return self.expanded().convolve(columns, threads)


class DenseOperand(Operand):
    """A float32 or float16 array."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(values.shape)
        self.values = values

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        rows = self.values.reshape(self.rows, self.columns)[first:last]
        return rows.astype(np.float32, copy=False)

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        if self.values.dtype != np.float32:
            return super().linear(x, threads)
        return x @ self.matrix(0, self.rows).T

    def expanded(self) -> Operand:
        return self if self.values.dtype == np.float32 else super().expanded()

    def convolve(self, columns: np.ndarray, threads: int) -> np.ndarray:
        images, groups, depth, width = columns.shape
        weight = self.matrix(0, self.rows).reshape(groups, self.rows // groups, depth)
        return np.matmul(weight, columns).reshape(images, self.rows, width)


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


class SpectralOperand(Operand):
    """The operand of the coefficients; kernels are transformed when they are used."""

    def __init__(self, form: Spectral) -> None:
        super().__init__(form.shape)
        self.coefficients = operand_of(form.coefficients)
        self.vertical, self.horizontal = (dct_basis(axis) for axis in self.shape[-2:])

    @property
    def nbytes(self) -> int:
        return self.coefficients.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        rows = np.ascontiguousarray(self.coefficients.matrix(first, last))
        kernels = rows.reshape(-1, *self.shape[-2:])
        out = np.empty_like(kernels)
        _native.inverse_dct(kernels, out, self.vertical, self.horizontal, threads=1)
        return out.reshape(last - first, self.columns)


class FormOperand(Operand):
    """Any form, by its own ``dense()`` whenever it is used."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.shape)
        self.form = form

    @property
    def nbytes(self) -> int:
        return resident(self.form)

    def matrix(self, first: int, last: int) -> np.ndarray:
        return self.form.dense().reshape(self.rows, self.columns)[first:last]

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        return self.expanded().linear(x, threads)


RUN_FORMS: dict[type[Form], Callable[..., Operand]] = {
    Dense: lambda form: DenseOperand(form.values),
    Codebook: CodebookOperand,
    Sparse: SparseOperand,
    Quantised: QuantisedOperand,
    Spectral: SpectralOperand,
}
"""Forms that have an operand of their own."""


def operand_of(form: Form) -> Operand:
    """The run form of a weight tensor; shares the form's arrays."""
    return RUN_FORMS.get(type(form), FormOperand)(form)


def resident(form: Form) -> int:
    """Bytes of all arrays that a form and the forms inside it hold."""
    parts = vars(form).values()
    return sum(
        part.nbytes if isinstance(part, np.ndarray) else resident(part)
        for part in parts
        if isinstance(part, np.ndarray | Form)
    )
