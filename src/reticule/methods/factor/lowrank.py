"""Layers whose blocks have low ranks of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

import reticule.methods.factor.twins  # noqa: F401  its twin registers itself
from reticule.forms import Factored, Packed, Sparse
from reticule.methods.base import Context, Outcome, method
from reticule.methods.factor.ranks import FLOOR, RATIO, error, layers
from reticule.methods.select import SMALLEST
from reticule.science.blocks import BlockModel

Share = Annotated[float, Field(gt=0, le=1)]


@method("block-low-rank")
@dataclass(frozen=True)
class BlockLowRank:
    """Find blocks of units that connect alike, and give each block a rank of its own.

    A block model of the weights (of a convolution: of the norms of its kernels) puts outputs
    and inputs into at most ``blocks`` groups each.  The block W_rs of two groups becomes
    U_rs V_rs^T, the start of its singular value decomposition.  Ranks are chosen greedily over
    all blocks of a layer: always the singular value that adds most energy for its numbers,

        s^2 / (outputs of the block + inputs of the block x taps),

    until the layer has ``energy`` of its sum of squares, or takes ``ratio`` of its numbers (0.25
    where neither is given); but it has at least ``floor`` ranks.  Factors are sparse, with one
    column of U for each rank of a block.

    Each block is as near as its numbers allow (Eckart & Young 1936), and so is the whole for
    these blocks; a single block is the plain decomposition.  With a family that sees spread but
    no direction, blocks put large weights together, which low ranks need not profit from.

    Source: ours, of the parts by Aicher, Jacobs, Clauset, "Learning latent block structure in
    weighted networks", 2015, and Eckart, Young, 1936.
    """

    family: Literal["laplace", "normal-variance"] = "laplace"
    blocks: Annotated[int, Field(ge=1, le=64)] = 8
    energy: Share | None = None
    ratio: Share | None = None
    floor: Annotated[int, Field(ge=1)] = FLOOR
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.energy is not None and self.ratio is not None:
            raise ValueError("give energy or ratio, not both: each says how large factors are")

    def apply(self, packed: Packed, context: Context) -> Outcome:
        found, skipped = layers(packed, self.skip, self.smallest)
        forms, ranks, errors, counts = {}, {}, {}, {}
        for name in found:
            weights = packed.forms[name].dense().astype(np.float64)
            norms = np.sqrt(np.square(weights).reshape(*weights.shape[:2], -1).sum(2))
            model = BlockModel(self.family, self.blocks, restarts=2, seed=context.seed)
            model.fit(weights if weights.ndim == 2 else norms)
            labels = model.row_labels_, model.column_labels_
            budget = self.energy, self.ratio or RATIO, self.floor
            pieces = chosen_pieces(weights, labels, *budget)
            kept = sum(np.count_nonzero(u) + np.count_nonzero(v) for u, v in pieces)
            if kept >= weights.size:
                skipped[name] = f"factors take {kept} numbers, the layer has {weights.size}"
                continue
            forms[name] = assembled(pieces, weights.shape)
            ranks[name], counts[name] = len(pieces), [int(n) for n in model.n_blocks_]
            errors[name] = round(error(forms[name], weights), 4)
        notes = {"blocks": counts, "ranks": ranks, "errors": errors}
        return Outcome(packed.with_forms(forms), skipped, notes)


Piece = tuple[np.ndarray, np.ndarray]  # a column of the rows, and a row of the core


@dataclass(frozen=True)
class _Singular:
    """A singular value of a block, what it costs, and its vectors in the whole matrix's place."""

    value: float
    cost: int
    rows: np.ndarray
    columns: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def worth(self) -> float:
        return self.value**2 / self.cost

    def piece(self) -> Piece:
        left, right = np.zeros(len(self.rows)), np.zeros(len(self.columns))
        left[self.rows] = self.left * np.sqrt(self.value)
        right[self.columns] = self.right * np.sqrt(self.value)
        return left, right


def chosen_pieces(
    weights: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray],
    energy: float | None,
    ratio: float,
    floor: int = 1,
) -> list[Piece]:
    """Singular vectors of the blocks, block by block, that add most energy for their numbers."""
    found = list(_decomposed(weights.reshape(len(weights), -1), *_lines(weights, labels)))
    enough = (energy or 0) * float(np.square(weights).sum()) * (1 - 1e-12)
    least, have, taken = min(floor, len(weights), weights.size // len(weights)), 0.0, 0
    kept: list[int] = []
    for place in sorted(range(len(found)), key=lambda place: -found[place].worth):
        next_ = found[place]
        full = have >= enough if energy else taken + next_.cost > ratio * weights.size
        if not next_.worth > 0 or (full and len(kept) >= least):
            break
        have, taken = have + next_.value**2, taken + next_.cost
        kept.append(place)
    return [found[place].piece() for place in sorted(kept)]


def _lines(
    weights: np.ndarray, labels: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the rows and columns of a layer as a matrix."""
    return labels[0], np.repeat(labels[1], prod(weights.shape[2:]))


def _decomposed(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[_Singular]:
    """All singular values of all blocks."""
    for r in range(int(rows.max(initial=-1)) + 1):
        for s in range(int(columns.max(initial=-1)) + 1):
            sides = rows == r, columns == s
            block = matrix[np.ix_(*sides)]
            u, values, v = np.linalg.svd(block, full_matrices=False)
            for k, value in enumerate(values):
                yield _Singular(float(value), sum(block.shape), *sides, u[:, k], v[k])


def assembled(pieces: Sequence[Piece], shape: Sequence[int]) -> Factored:
    """The sum of the pieces' outer products, in sparse factors."""
    wide = prod(shape[1:])
    rows = np.array([u for u, _ in pieces]).reshape(len(pieces), shape[0]).T
    core = np.array([v for _, v in pieces]).reshape(len(pieces), wide)
    core = core.reshape(len(pieces), *shape[1:])
    return Factored(Sparse.keep(rows, rows != 0), Sparse.keep(core, core != 0))
