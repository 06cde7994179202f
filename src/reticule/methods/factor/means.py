"""Layers that know of each weight only the block that it is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

import reticule.methods.factor.twins
import reticule.methods.share.kmeans  # noqa: F401  so does that of the labels' ones
from reticule.forms import Codebook, Dense, Factored, Packed, Sparse
from reticule.methods.base import Context, Outcome, method
from reticule.methods.factor.ranks import layers
from reticule.methods.select import SMALLEST

GOOD = 0.9  # of the variance: below that, means cannot stand for weights
_ROUNDS = 30


@method("block-means")
@dataclass(frozen=True)
class BlockMeans:
    """Put units into groups, and let all weights between two groups be their mean.

        W[i, j] ~ B[z_i, w_j],  B = means,  of a convolution for every tap

    with labels z of outputs and w of inputs that minimise the squared error, by alternating
    least squares from groups of like rows and columns (co-clustering, Hartigan 1972).  Stored
    are ones at the labels, and B; a ``retrain`` stage trains B.

    **As an approximation it practically never works.**  Units of a trained layer do not come
    in copies: of the variance of LeNet's large layers 32 x 32 blocks explain 3 to 26 %.  What
    was explained (R^2) is said in a warning and in the notes; training has to find another,
    very small network.

    Source: the simplest use of a block model as a layer; ours to try.
    """

    blocks: Annotated[int, Field(ge=1, le=1024)] = 32
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        found, skipped = layers(packed, self.skip, self.smallest)
        forms, explained = {}, {}
        for number, name in enumerate(found):
            weights = packed.forms[name].dense().astype(np.float64)
            rng = np.random.default_rng([context.seed, number])
            labels = cocluster(weights, self.blocks, rng)
            form = by_blocks(weights, *labels)
            if sum(part.macs for part in form.factors) >= weights.size:
                skipped[name] = f"blocks and labels take as much as its {weights.size} weights"
                continue
            forms[name] = form
            left = np.square(form.dense() - weights).sum()
            explained[name] = round(float(1 - left / max(weights.var() * weights.size, 1e-300)), 3)
        warning = ""
        if explained and min(explained.values()) < GOOD:
            low, high = min(explained.values()), max(explained.values())
            warning = (
                f"block-means: means of blocks explain {low:.0%} to {high:.0%} of the variance of "
                f"the weights (R^2); practically never does this keep what a network knows"
            )
            context.progress.say(f"warning: {warning}")
        notes = {"explained": explained, "warning": warning}
        return Outcome(packed.with_forms(forms), skipped, notes)


def by_blocks(weights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Factored:
    """The form in which weights (rows, columns, taps ...) are the means of their blocks."""
    means = _means(weights.reshape(*weights.shape[:2], -1), rows, columns)
    core = means.reshape(*means.shape[:2], *weights.shape[2:])
    return Factored(_ones(rows), Dense(core.astype(np.float32)), _ones(columns))


def _ones(labels: np.ndarray) -> Sparse:
    """A one for each unit, in the column of its group; all ones are the same number."""
    mask = labels[:, None] == np.arange(int(labels.max(initial=-1)) + 1)
    return Sparse.at(mask, Codebook(np.zeros(labels.size, np.uint8), Dense(np.ones(1, np.float32))))


def cocluster(
    weights: np.ndarray, blocks: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of rows and columns of which the means of blocks are nearest to the weights.

    At most so many groups on each side; each is used.  A local optimum.

    >>> steps = np.kron(np.array([[1.0, 5.0], [9.0, 2.0]]), np.ones((3, 2)))
    >>> rows, columns = cocluster(steps, 2, np.random.default_rng(0))
    >>> bool(np.allclose(by_blocks(steps, rows, columns).dense(), steps))
    True
    """
    cube = weights.reshape(*weights.shape[:2], -1)
    sides = cube, np.swapaxes(cube, 0, 1)
    labels = [_grouped(s.reshape(len(s), -1), min(blocks, len(s)), rng) for s in sides]
    for _ in range(_ROUNDS):
        before = [each.copy() for each in labels]
        for axis in (0, 1):
            other = labels[1 - axis]
            counts = np.bincount(other)
            sums = np.stack([_sums(s, other, len(counts)) for s in np.moveaxis(sides[axis], 2, 0)])
            means = _means(sides[axis], labels[axis], other)
            # |w - b|^2 over a row, without what does not depend on the group of the row
            cost = np.einsum("klt,l->k", np.square(means), counts)
            cost = cost - 2 * np.einsum("til,klt->ik", sums, means, optimize=True)
            labels[axis] = np.unique(cost.argmin(1), return_inverse=True)[1]
        if all(np.array_equal(old, new) for old, new in zip(before, labels, strict=True)):
            break
    return labels[0], labels[1]


def _sums(matrix: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Sums of the columns of each group (rows, groups)."""
    return matrix @ (labels[:, None] == np.arange(count)).astype(np.float64)


def _means(cube: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Means of blocks (groups of rows, groups of columns, taps)."""
    left, right = (np.eye(int(z.max(initial=-1)) + 1)[z] for z in (rows, columns))
    sums = np.einsum("ijt,ik,jl->klt", cube, left, right, optimize=True)
    return sums / (left.sum(0)[:, None, None] * right.sum(0)[:, None])


def _grouped(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Labels of points by k-means, begun from points far from each other."""
    squares = np.square(points).sum(1)
    chosen = [int(squares.argmax())]
    nearest = np.square(points - points[chosen[0]]).sum(1)
    while len(chosen) < count and nearest.max() > 0:
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(1))
    centres = points[chosen]
    labels = np.zeros(len(points), int)
    for _ in range(_ROUNDS):
        found = (np.square(centres).sum(1) - 2 * points @ centres.T).argmin(1)
        found = np.unique(found, return_inverse=True)[1]
        if np.array_equal(found, labels):
            break
        labels = found
        left = np.eye(int(labels.max()) + 1)[labels]
        centres = (left.T @ points) / left.sum(0)[:, None]
    return labels
