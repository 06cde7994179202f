"""Block-diagonal layers: every part of the outputs reads one part of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import Form, Packed, Sparse, channels_of, operated
from reticule.graph.channels import reordered
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.threshold import prunable
from reticule.methods.select import SMALLEST, select
from reticule.science.optional import need

ROUNDS = 30


@method("block-diagonal")
@dataclass(frozen=True)
class BlockDiagonal:
    """Keep a layer's weights between part i of its outputs and part i of its inputs only.

    Outputs and inputs of a layer are each divided into ``parts`` of equal size (as nearly as
    it goes), so that as much as possible of the squared weights lies between parts of the same
    number; all else is pruned: a layer keeps one weight in ``parts``.  Which part an input
    belongs to has nothing to do with the part that it was as an output of the layer before, so
    that every output of a network still depends on everything.  Units are put in the order of
    their parts, which is free: what is left are dense blocks along the diagonal of the rows.

    It is a strong prior, found by alternating balanced assignment from a spectral start; the
    network needs a ``retrain`` stage behind it.

    Source: Deng et al., "PermDNN: Efficient Compressed DNN Architecture with Permuted Diagonal
    Matrices", MICRO 2018; Supic et al., "MPDCompress", 2018 (masks by permuted blocks); start:
    Dhillon, "Co-clustering by bipartite spectral graph partitioning", KDD 2001.
    """

    parts: Annotated[int, Field(ge=2, le=64)] = 4
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        groups: dict[str, Any] = {
            weight: node.settings.get("group", 1) for node, weight in packed.graph.weights()
        }
        rows_of: dict[str, np.ndarray] = {}
        forms: dict[str, Form] = {}
        kept = {}
        for name in names:
            form = packed.forms[name]
            if min(form.shape[:2]) < 2 * self.parts or groups[name] > 1:
                small = f"{form.shape[0]} x {form.shape[1]} channels are too few for {self.parts}"
                skipped[name] = "already in groups" if groups[name] > 1 else f"{small} parts"
                continue
            weights = form.dense()
            energy = np.square(weights, dtype=np.float64).reshape(*form.shape[:2], -1).sum(2)
            rows, columns = diagonal_parts(energy, self.parts, context.seed)
            mask = rows[:, None] == columns
            shaped = mask.reshape(*mask.shape, *[1] * (weights.ndim - 2)) & (weights != 0)
            forms[name] = Sparse.keep(weights, np.broadcast_to(shaped, weights.shape))
            rows_of[name] = rows
            kept[name] = float(energy[mask].sum() / max(energy.sum(), 1e-30))
        packed = _by_parts(packed.with_forms(forms), rows_of)
        return Outcome(packed, skipped, {"energy_kept": kept})


def diagonal_parts(energy: np.ndarray, parts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Parts of rows and of columns, of equal size, between which most of the energy lies.

    ``energy`` is a matrix (rows, columns) of at least ``parts`` each.  Sizes differ by one at
    most.

    >>> rows, columns = diagonal_parts(np.kron(np.eye(2), np.ones((2, 3)))[[0, 2, 1, 3]], 2)
    >>> bool(rows[0] == rows[2] != rows[1] == rows[3])
    True
    """
    cluster = need("sklearn.cluster", "block-diagonal layers")
    live = energy + 1e-9 * max(float(energy.mean()), 1e-30)  # no row or column may be empty
    start = cluster.SpectralCoclustering(parts, random_state=seed).fit(np.sqrt(live))
    columns = _balanced(np.eye(parts)[start.column_labels_], parts)
    best, most = None, -1.0
    for _ in range(ROUNDS):
        rows = _balanced(_sums(energy, columns, parts), parts)
        columns = _balanced(_sums(energy.T, rows, parts), parts)
        kept = float(energy[rows[:, None] == columns].sum())
        if kept <= most * (1 + 1e-12):
            break
        best, most = (rows, columns), kept
    assert best is not None
    return best


def _sums(energy: np.ndarray, labels: np.ndarray, parts: int) -> np.ndarray:
    """Energy of each row within each part of the columns (rows, parts)."""
    return energy @ np.eye(parts)[labels]


def _balanced(gains: np.ndarray, parts: int) -> np.ndarray:
    """A part for each line (lines, parts), all of one size, that gains much.

    Lines with most to lose choose first among the parts that have room.
    """
    count = len(gains)
    room = np.full(parts, count // parts)
    room[: count % parts] += 1
    labels = np.full(count, -1)
    ordered = np.sort(gains, axis=1)
    for line in np.argsort(ordered[:, -2] - ordered[:, -1], kind="stable"):
        part = int(np.argmax(np.where(room > 0, gains[line], -np.inf)))
        labels[line], room[part] = part, room[part] - 1
    return labels


def _by_parts(packed: Packed, rows_of: dict[str, np.ndarray]) -> Packed:
    """Units in the order of their parts in the layer that makes them, where they are free."""
    channels = channels_of(packed)
    for units in channels.classes:
        for name, parts in rows_of.items():
            lie = channels.tensors[name, 0]
            if np.isin(units, lie).all():
                of_unit = dict(zip(lie.tolist(), parts.tolist(), strict=True))
                rank = np.argsort([of_unit[unit] for unit in units.tolist()], kind="stable")
                packed = operated(packed, reordered(channels, [units[rank]]))
                break
    return packed
