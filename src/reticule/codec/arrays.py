"""Arrays: the numbers inside a form, laid out as its tensor, ready for a coder.

A form is stored as *structure* (shapes, tags, steps: a few bytes) and *arrays*.  Writer
and reader make the same list of arrays in the same order; the writer's are full, the
reader's are filled when their chunks are decoded, and only then are forms built.

An array keeps the layout of its tensor, as that is what a coder predicts from.  Where it
has a mask (the positions of a sparse form), it still has the tensor's size, but only what
lies under the mask is stored.

>>> Layout.of((64, 3, 5, 5)), Layout.of((10,)).columns
(Layout(rows=64, channels=3, height=5, width=5), 10)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np

from reticule import _native
from reticule.forms.base import Shape
from reticule.forms.quantised import trellis_rows


class Kind(Enum):
    """What the numbers of an array are."""

    INTEGERS = "integers"  # with sign, int32
    MASK = "mask"  # 0 or 1, uint8
    FLOATS = "floats"  # bit patterns of IEEE numbers, uint32 or uint16
    LABELS = "labels"  # blocks of rows or columns, not negative, int32


class Role(Enum):
    """What an array says about its tensor, for those who ask where the bytes went."""

    WEIGHTS = "weights"  # the weights' values, levels or indices into a table
    INDEX = "index"  # which weights are stored
    CODEBOOK = "codebook"  # values that weights share


@dataclass(frozen=True)
class Layout:
    """Output channels, input channels, and the taps of a kernel; values lie in C order."""

    rows: int
    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, shape: Shape) -> Layout:
        """A vector is one row; a matrix has kernels of one tap."""
        if len(shape) < 2:
            return cls(1, prod(shape), 1, 1)
        rows, channels, *kernel = shape
        return cls(rows, channels, prod(kernel[:-1]), prod(kernel[-1:]))

    @property
    def axes(self) -> Shape:
        """The four as the shape of an array."""
        return self.rows, self.channels, self.height, self.width

    @property
    def columns(self) -> int:
        """Values in a row."""
        return self.channels * self.height * self.width

    @property
    def size(self) -> int:
        """Values in all rows."""
        return self.rows * self.columns


@dataclass(frozen=True, eq=False)
class Array:
    """Numbers of a form: flat ``data`` of the layout's size.

    ``largest`` bounds integers in absolute value.  ``states`` is that of the trellis
    whose path the integers describe; they are levels once they have been decoded.
    ``mask`` comes earlier in the list of arrays.  ``blocks`` is what a mask of blocks marks,
    and ``together`` how many rows of that must stay in one row group.  ``labels`` are the blocks
    of its rows and columns, and ``cut`` the rows of a row group where the layout does not tell.
    """

    kind: Kind
    layout: Layout
    data: np.ndarray
    largest: int = 0
    states: int = 0
    mask: Array | None = None
    role: Role = Role.WEIGHTS
    blocks: Blocks | None = None
    together: int = 1
    labels: Labels | None = None
    cut: int = 0

    @property
    def group_rows(self) -> int:
        """Rows of a row group; what lies under a mask of blocks is cut where that is."""
        if self.cut:
            return self.cut
        if self.blocks is not None:
            return self.blocks.mask.group_rows // self.blocks.mask.together
        if self.mask is not None:
            return self.mask.group_rows
        rows = trellis_rows(self.layout.columns)
        return rows + -rows % self.together

    @property
    def groups(self) -> int:
        """Row groups, which are coded one by one; an empty array has none."""
        if not self.layout.size:
            return 0
        return -(-self.layout.rows // self.group_rows)


@dataclass(frozen=True, eq=False)
class Labels:
    """Blocks of the rows and of the channels of a layout, for each of its row groups.

    ``rows`` is cut where the layout is; ``columns`` has the same row for each group, so that a
    group needs no other.
    """

    rows: Array
    columns: Array

    def beside(self, group: int, kernel: int) -> np.ndarray:
        """The pair of blocks of each value of a row group, as one number, flat."""
        first = group * self.rows.cut
        rows = self.rows.data[first : first + self.rows.cut, None]
        columns = self.columns.data.reshape(self.columns.layout.rows, -1)[group]
        pairs = rows * (self.columns.largest + 1) + columns
        return pairs.astype(np.uint16).repeat(kernel, axis=1).reshape(-1)


@dataclass(frozen=True)
class Blocks:
    """Blocks of a tensor, whose ``sides`` are those of its layout: the last ones may be cut.

    ``mask`` is not stored: it is filled from the mask of the blocks.
    """

    sides: Shape
    mask: Array

    @property
    def layout(self) -> Layout:
        """One place for each block."""
        fine = self.mask.layout.axes
        return Layout(*(-(-axis // side) for axis, side in zip(fine, self.sides, strict=True)))

    def fill(self, marked: np.ndarray, first: int) -> None:
        """Mark the weights of some rows of blocks, those from ``first`` on."""
        axes = self.mask.layout.axes
        rows = slice(first * self.sides[0], (first + len(marked)) * self.sides[0])
        into = self.mask.data.reshape(axes)[rows]
        for axis, side in enumerate(self.sides):
            marked = marked.repeat(side, axis)
        into[...] = marked[tuple(slice(length) for length in into.shape)]


@dataclass(frozen=True)
class Piece:
    """One row group of an array."""

    array: Array
    layout: Layout
    first: int  # flat position of its first value

    @classmethod
    def of(cls, array: Array, group: int) -> Piece:
        """The row group of this number."""
        whole, rows = array.layout, array.group_rows
        first = group * rows
        layout = Layout(min(rows, whole.rows - first), whole.channels, whole.height, whole.width)
        return cls(array, layout, first * whole.columns)

    @property
    def data(self) -> np.ndarray:
        """A view of the values."""
        return self.array.data[self.first : self.first + self.layout.size]

    @property
    def mask(self) -> np.ndarray | None:
        """A view of the mask, if there is one."""
        if self.array.mask is None:
            return None
        return self.array.mask.data[self.first : self.first + self.layout.size]

    @property
    def labels(self) -> np.ndarray | None:
        """The pair of blocks of each value, if there are any."""
        if self.array.labels is None:
            return None
        group = self.first // (self.array.group_rows * self.array.layout.columns)
        return self.array.labels.beside(group, self.layout.height * self.layout.width)

    @property
    def count(self) -> int:
        """How many values are coded: all, or those under the mask."""
        return self.layout.size if self.mask is None else int(np.count_nonzero(self.mask))

    def stored(self) -> np.ndarray:
        """The values that are coded, flat."""
        return self.data if self.mask is None else self.data[self.mask.astype(bool)]

    def fill(self, values: np.ndarray) -> None:
        """Inverse of ``stored``; what is not under the mask becomes zero."""
        if self.mask is None:
            self.data[:] = values
        else:
            self.data[:] = 0
            self.data[self.mask.astype(bool)] = values

    def spread(self) -> None:
        """A mask of blocks marks their weights, before what lies under them is decoded."""
        if self.array.blocks is not None:
            first = self.first // max(self.array.layout.columns, 1)
            self.array.blocks.fill(self.data.reshape(self.layout.axes), first)

    def restore(self) -> None:
        """Indices of a trellis become the levels that they stand for."""
        if self.array.states:
            _native.trellis_levels(self.data, self.layout.columns, self.array.states, self.data)


@dataclass(frozen=True)
class Slot:
    """Where a form sits in a tensor: by itself, or under the mask of a sparse form.

    Under a mask a form is a vector, but its arrays keep the layout of the tensor.
    ``role`` is what the form there is good for; ``labels`` are those of the layout.
    """

    shape: Shape
    layout: Layout
    mask: Array | None = None
    role: Role = Role.WEIGHTS
    labels: Labels | None = None

    @classmethod
    def of(cls, shape: Shape, role: Role = Role.WEIGHTS) -> Slot:
        """A form by itself."""
        return cls(shape, Layout.of(shape), role=role)

    def under(self, mask: Array) -> Slot:
        """The place of the values of a sparse form that sits here."""
        return Slot((-1,), self.layout, mask, self.role, self.labels)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values of the form, flat, at their positions in the layout."""
        if self.mask is None:
            return np.ascontiguousarray(values).reshape(-1)
        placed = np.zeros(self.layout.size, values.dtype)
        placed[self.mask.data.astype(bool)] = values
        return placed

    def take(self, data: np.ndarray) -> np.ndarray:
        """Inverse of ``place``: the values in the form's shape."""
        if self.mask is None:
            return data.reshape(self.shape)
        return data[self.mask.data.astype(bool)]
