"""What an operand is, and the one of plain arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from reticule.forms import matrix_shape

BLOCK_BYTES = 4 << 20
"""Scratch for one block of expanded rows of a linear layer."""


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

    def ready(self, groups: int) -> Operand:
        """The same where it is known that the layer cuts its channels into ``groups``."""
        return self.expanded()

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
