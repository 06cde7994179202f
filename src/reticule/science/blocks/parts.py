"""The data of a block model: layers as sums of statistics between groups of units.

A *group* is a set of units that are labelled together, such as the channels between two layers.
A *part* is one layer: a matrix whose rows belong to one group and whose columns to another.
Where one unit owns several columns (a channel before a flatten), ``column_units`` says which.
All work on the matrix is products with narrow one-hot matrices, O(edges x blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.science.blocks.degrees import Degrees
from reticule.science.blocks.families import Family, Scale
from reticule.science.optional import need


@dataclass(frozen=True)
class Side:
    """A part seen from its rows or from its columns."""

    group: int
    units: np.ndarray | None  # the unit of each row; None: row i is unit i
    degrees: Degrees | None  # where the family pays for them
    statistics: tuple[Any, ...]  # matrices (rows of this side, rows of the other)
    counts: np.ndarray  # rows of each unit

    @property
    def rows(self) -> int:
        return int(self.statistics[0].shape[0])

    def spread(self, labels: np.ndarray) -> np.ndarray:
        """The label of each row, from those of the units."""
        return labels if self.units is None else labels[self.units]

    def gathered(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows of each unit (units, ...), from values of rows (rows, ...)."""
        if self.units is None:
            return values
        total = np.zeros((self.counts.size, *values.shape[1:]))
        np.add.at(total, self.units, values)
        return total

    def sums(self, other_labels: np.ndarray, blocks: int) -> np.ndarray:
        """Statistics of each unit of this side towards the other's blocks (T, units, blocks)."""
        marks = one_hot(other_labels, blocks)
        return np.stack([self.gathered(np.asarray(each @ marks)) for each in self.statistics])


@dataclass(frozen=True)
class Part:
    """One layer: its two sides, and what holds for the layer as a whole."""

    row: Side
    column: Side
    scale: Scale
    positions: bool  # whether it has to be told which cells are stored
    fixed_bits: float  # what no partition changes

    def side(self, of_rows: bool) -> Side:
        return self.row if of_rows else self.column


def one_hot(labels: np.ndarray, blocks: int) -> np.ndarray:
    """A matrix (n, blocks) with a one in each row."""
    marks = np.zeros((labels.size, blocks))
    marks[np.arange(labels.size), labels] = 1.0
    return marks


def block_sums(labels: np.ndarray, sums: np.ndarray, blocks: int) -> np.ndarray:
    """Sums over the units of each block (T, blocks, other blocks)."""
    return np.matmul(one_hot(labels, blocks).T, sums)


def part_of(
    matrix: Any,
    family: Family,
    groups: tuple[int, int] = (0, 1),
    units: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    sizes: tuple[int, int] | None = None,
) -> Part:
    """A layer as a part; a dense matrix without zeros stays dense, any other becomes sparse.

    Raises ReticuleError for what is not a matrix of finite numbers.
    """
    stored = _stored(matrix, family)
    rows, columns = stored.shape
    dense = isinstance(stored, np.ndarray)
    values = stored if dense else stored.data
    scale = _scale(values)
    positions = family.weighted and values.size < rows * columns
    layers = [_like(stored, each) for each in (np.ones(values.shape), *family.statistics(values))]
    pays = family.name == "degree-corrected"
    sides = []
    for axis in (0, 1):
        seen = layers if axis == 0 else [each.T if dense else each.T.tocsr() for each in layers]
        count = stored.shape[axis] if sizes is None else sizes[axis]
        own = units[axis]
        counts = np.bincount(np.arange(count) if own is None else own, minlength=count)
        degrees = _degrees(seen[0]) if pays else None
        sides.append(Side(groups[axis], own, degrees, tuple(seen), counts.astype(np.float64)))
    told = positions or not family.weighted
    return Part(sides[0], sides[1], scale, told, _fixed_bits(family, rows * columns))


def _fixed_bits(family: Family, cells: int) -> float:
    """Bits that every partition pays for a layer."""
    if family.weighted:
        return 65.0  # mean and scale as floats; whether all cells are stored
    return float(np.log2(cells + 1.0)) if family.name == "degree-corrected" else 0.0


def _degrees(matrix: Any) -> Degrees:
    return Degrees.of(np.asarray(matrix.sum(axis=1)).ravel(), matrix.shape[1])


def _stored(matrix: Any, family: Family) -> Any:
    """The matrix as compressed rows of float64, or dense where nothing is missing."""
    sparse = need("scipy.sparse", "block models")
    if sparse.issparse(matrix):
        kept = sparse.csr_matrix(matrix, dtype=np.float64)
        if not kept.has_canonical_format:  # the caller's matrix stays as it is
            kept = kept.copy()
            kept.sum_duplicates()
    else:
        array = np.asarray(matrix)
        if array.ndim != 2 or array.dtype.kind not in "biuf":
            raise ReticuleError(
                f"block models take a matrix of numbers, not {array.dtype} of shape {array.shape}"
            )
        if family.weighted and array.size and (array != 0).all():
            kept = np.ascontiguousarray(array, np.float64)
        else:
            kept = sparse.csr_matrix(array.astype(np.float64))
    values = kept if isinstance(kept, np.ndarray) else kept.data
    if not np.isfinite(values).all():
        raise ReticuleError("block models take finite numbers; the matrix has NaN or infinities")
    return kept


def _scale(values: np.ndarray) -> Scale:
    if not values.size:
        return Scale(0.0, 1.0)
    square = float(np.mean(values * values))
    return Scale(float(values.mean()), square if square > 0 else 1.0)


def _like(stored: Any, values: np.ndarray) -> Any:
    """Other values at the same cells; positions are shared, not copied."""
    if isinstance(stored, np.ndarray):
        return values
    sparse = need("scipy.sparse", "block models")
    return sparse.csr_matrix((values, stored.indices, stored.indptr), shape=stored.shape)
