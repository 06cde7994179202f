"""Sparse: only some weights are stored, the others are zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape, frozen, matrix_shape, smallest_uint

LARGEST_SIDE = 64
"""Of blocks that are looked for, in rows and in columns."""


@dataclass(frozen=True, eq=False)
class Sparse(Form):
    """Compressed rows: positions of the stored weights, and their values in another form.

    The tensor is read as the matrix of :func:`~reticule.forms.base.matrix_shape`.
    ``indptr`` (rows + 1, uint32) and ``columns`` (strictly ascending within a row)
    have the usual meaning; ``values`` is a form of shape (n,) in the same order.

    >>> form = Sparse.keep(np.array([[0, 3], [4, 0]], "f4"), np.array([[0, 1], [1, 0]]))
    >>> form.columns.tolist(), form.values.dense().tolist()
    ([1, 0], [3.0, 4.0])
    """

    shape: Shape
    indptr: np.ndarray
    columns: np.ndarray
    values: Form

    def __post_init__(self) -> None:
        rows, cols = matrix_shape(self.shape)
        count = self.columns.size
        if self.indptr.shape != (rows + 1,) or self.values.shape != (count,):
            raise ValueError(f"positions and values do not fit the shape {self.shape}")
        indptr = self.indptr.astype(np.uint32, copy=False)
        if indptr[0] != 0 or indptr[-1] != count or (indptr[1:] < indptr[:-1]).any():
            raise ValueError("row pointers are not ascending")
        if count:
            if int(self.columns.min()) < 0 or int(self.columns.max()) >= cols:
                raise ValueError("a column is outside of the matrix")
            rising = self.columns[1:] > self.columns[:-1]
            starts = indptr[1:-1]
            rising[starts[(starts > 0) & (starts < count)] - 1] = True
            if not rising.all():
                raise ValueError("columns do not ascend within a row")
        columns = self.columns.astype(smallest_uint(max(cols - 1, 256)), copy=False)
        object.__setattr__(self, "indptr", frozen(indptr))
        object.__setattr__(self, "columns", frozen(columns))

    @classmethod
    def keep(cls, weights: np.ndarray, mask: np.ndarray) -> Sparse:
        """The weights where the mask is true; a zero under the mask stays stored."""
        from reticule.forms.dense import Dense

        kept = np.asarray(mask, bool)
        return cls.at(kept, Dense(np.asarray(weights, np.float32)[kept]))

    @classmethod
    def at(cls, mask: np.ndarray, values: Form) -> Sparse:
        """The given values at the true positions of a mask, in C order."""
        rows, cols = matrix_shape(mask.shape)
        kept = mask.reshape(rows, cols)
        indptr = np.zeros(rows + 1, np.uint32)
        np.cumsum(kept.sum(axis=1, dtype=np.uint32), out=indptr[1:])
        columns = np.arange(cols if kept.size else 0, dtype=smallest_uint(max(cols - 1, 256)))
        if kept.size:
            columns = np.broadcast_to(columns, kept.shape)[kept]
        return cls(tuple(mask.shape), indptr, columns, values)

    @property
    def name(self) -> str:
        inner = self.values.name
        return "sparse" if inner == "dense" else f"sparse({inner})"

    def positions(self) -> np.ndarray:
        """Flat C-order positions of the stored weights (int64)."""
        rows, cols = matrix_shape(self.shape)
        counts: np.ndarray = np.diff(self.indptr.astype(np.int64))
        return np.repeat(np.arange(rows) * cols, counts) + self.columns

    def mask(self) -> np.ndarray:
        """True where a weight is stored."""
        mask = np.zeros(self.size, bool)
        mask[self.positions()] = True
        return mask.reshape(self.shape)

    def dense(self) -> np.ndarray:
        weights = np.zeros(self.size, np.float32)
        weights[self.positions()] = self.values.dense()
        return weights.reshape(self.shape)

    @property
    def nonzero(self) -> int:
        return self.values.nonzero

    @property
    def macs(self) -> int:
        return self.columns.size

    @property
    def bits(self) -> int:
        """Row pointers and columns at fixed width, plus the values."""
        rows, cols = matrix_shape(self.shape)
        count = self.columns.size
        return (
            (rows + 1) * max(count.bit_length(), 1)
            + count * max(cols - 1, 1).bit_length()
            + self.values.bits
        )


def block_sides(mask: np.ndarray) -> Shape:
    """Sides of the largest blocks that a mask (rows, columns, kernel's axes) is made of.

    Powers of two along rows and columns, the last block cut; or a whole axis.

    >>> block_sides(np.kron([[1, 0], [0, 1]], np.ones((4, 8)))[:6])
    (4, 8)
    """
    found = []
    for axis, length in enumerate(mask.shape):
        side = 1
        while side < length and (axis > 1 or side < LARGEST_SIDE):
            wider = min(2 * side, length) if axis < 2 else length
            if not _constant(mask, axis, wider):
                break
            side = wider
        found.append(side)
        mask = mask[(slice(None),) * axis + (slice(None, None, side),)]
    return tuple(found)


def _constant(mask: np.ndarray, axis: int, side: int) -> bool:
    """Whether a mask says the same all along each piece of an axis."""
    lines = np.moveaxis(mask, axis, 0)
    heads = lines[::side].repeat(side, 0)[: len(lines)]
    return np.array_equal(lines != 0, heads != 0)
