"""Layers as embeddings of their units, and a small core between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

import reticule.methods.factor.twins  # noqa: F401  its twin registers itself
from reticule.forms import Factored, Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.factor.ranks import FLOOR, Ranks, error, folded, layers, numbers, three
from reticule.methods.select import SMALLEST
from reticule.science.embeddings import (
    UnitEmbedding,
    coordinates,
    orthonormal,
    projected,
    side_proximities,
)
from reticule.science.units import wired

Rank = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


@method("embedding")
@dataclass(frozen=True)
class Embedding:
    """Factor layers by coordinates of their units in the weight graph.

    Outputs get coordinates X (m x d), inputs Y (n x d), by the ``kind`` of embedding (see
    :mod:`reticule.science.embeddings`), and the layer becomes

        W ~ X C Y^T,  C = X^+ W (Y^+)^T  (of a convolution: for every tap),

    the nearest that these coordinates allow.  Of a matrix C goes into one of the factors, so
    that d (m + n) numbers are stored; of kernels there are three.  Everything is free in
    training afterwards, which has to follow.

    By Eckart and Young no embedding of d coordinates is nearer to W than ``svd``, the reference;
    ``random`` is the other one.  (Of kernels ``svd`` is the higher-order one of De Lathauwer et
    al. 2000, whose squared error is at most twice the least.)

    How many coordinates: ``rank`` (a number, or one for each layer, by patterns), ``energy``
    (that share of the sum of squared singular values) or ``ratio`` (that share of the layer's
    numbers; 0.25 if none of the three is given); the latter two give at least ``floor``.
    Layers that would not become smaller stay.

    ``shared`` gives each unit one set of coordinates, for the layer that makes it and the one
    that reads it: W_l ~ X_l C_l X_(l-1)^T, from the proximities of both side by side.  A file
    holds a tensor of its own for each layer, so that this saves numbers (``numbers_shared``),
    not bytes, and training lets the copies part.

    Source: ours, of the parts by Qiu et al., WSDM 2018; Cao et al., CIKM 2015; Dhillon, KDD 2001;
    Tucker, 1966.
    """

    kind: Literal["netmf", "grarep", "spectral", "svd", "random"] = "netmf"
    rank: Rank | Mapping[str, Rank] | None = None
    energy: Share | None = None
    ratio: Share | None = None
    floor: Rank = FLOOR
    window: Annotated[int, Field(ge=1, le=100)] = 3
    negatives: Annotated[float, Field(gt=0)] = 1.0
    signs: Literal["difference", "concatenated", "none"] = "difference"
    shared: bool = False
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._ranks()
        if self.shared and not isinstance(self.rank, int):
            raise ValueError("'shared' needs a 'rank' for all layers, as they share coordinates")

    def apply(self, packed: Packed, context: Context) -> Outcome:
        found, skipped = layers(packed, self.skip, self.smallest)
        ranks = self._ranks()
        ranks.check([*found, *found.values()], "embedding")
        weights = {name: packed.forms[name].dense().astype(np.float64) for name in found}
        chosen = {}
        for name, node in found.items():
            pair = ranks.of((name, node), weights[name])
            if pair is None:
                skipped[name] = "not named in 'rank'"
                continue
            size = packed.forms[name].size
            kept = numbers(weights[name].shape, pair, folded=not self.shared)
            if kept >= size:
                skipped[name] = f"ranks of {pair} take {kept} numbers, the layer has {size}"
            else:
                chosen[name] = pair
        if self.shared:
            return self._together(packed, {n: found[n] for n in chosen}, weights, skipped, context)
        forms = {}
        for name, pair in chosen.items():
            embedding = self._embedding(pair, context.seed).fit(weights[name])
            sides = embedding.row_embedding_, embedding.column_embedding_
            forms[name] = folded(*projected(weights[name], *sides))
        return Outcome(packed.with_forms(forms), skipped, _notes(forms, weights))

    def _ranks(self) -> Ranks:
        return Ranks(self.rank, self.energy, self.ratio, self.floor)

    def _embedding(self, dimensions: tuple[int, int], seed: int) -> UnitEmbedding:
        settings = (self.window, self.negatives, self.signs)
        return UnitEmbedding(self.kind, dimensions, *settings, seed=seed)

    def _together(
        self,
        packed: Packed,
        chosen: Mapping[str, str],
        weights: Mapping[str, np.ndarray],
        skipped: dict[str, str],
        context: Context,
    ) -> Outcome:
        """One embedding for each unit, whichever layers touch it."""
        assert isinstance(self.rank, int)
        settings = self._embedding((self.rank, self.rank), context.seed)
        sides = _sides(packed, chosen)
        near: dict[str, list[np.ndarray]] = {}
        for (name, axis), group in sides.items():
            for matrix in side_proximities(settings, weights[name], axis):
                near.setdefault(group, []).append(matrix / (np.linalg.norm(matrix) or 1.0))
        bases = {}
        for number, group in enumerate(dict.fromkeys(sides.values())):
            units = next(weights[n].shape[axis] for (n, axis), g in sides.items() if g == group)
            joined = [np.hstack(near[group])] if group in near else []
            seed = context.seed + number
            bases[group] = orthonormal(coordinates(joined, units, self.rank, seed))
        forms = {}
        for name in chosen:
            left, right = bases[sides[name, 0]], bases[sides[name, 1]]
            forms[name] = three(*projected(weights[name], left, right))
        once = sum(basis.size for basis in bases.values())
        once += sum(form.core.size for form in forms.values())
        notes = {**_notes(forms, weights), "numbers_shared": once}
        return Outcome(packed.with_forms(forms), skipped, notes)


def _sides(packed: Packed, chosen: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """The group of units of both axes of each layer.

    Columns that are not one for each unit, in their order, as behind a flatten, are a group of
    their own.
    """
    units = wired(packed.graph)
    found = {}
    for name, node in chosen.items():
        wiring, shape = units.layers[node], packed.forms[name].shape
        groups = (wiring.rows, wiring.row_units), (wiring.columns, wiring.column_units)
        for axis, (group, line) in enumerate(groups):
            own = units.groups[group] != shape[axis] or not np.array_equal(
                line[: shape[axis]], np.arange(shape[axis])
            )
            found[name, axis] = f"{name}, axis {axis}" if own else group
    return found


def _notes(forms: Mapping[str, Factored], weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Numbers before and after, and how far each layer is from what it was."""
    return {
        "weights": sum(form.size for form in forms.values()),
        "numbers": sum(part.size for form in forms.values() for part in form.factors),
        "errors": {name: round(error(form, weights[name]), 4) for name, form in forms.items()},
    }
