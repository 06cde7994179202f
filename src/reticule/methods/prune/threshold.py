"""Static threshold pruning: cut once, by a threshold or to a density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.errors import RecipeError
from reticule.forms import Dense, Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.allocation import Measure, noted, scope_of
from reticule.methods.prune.scores import Scope, Score, masks_at
from reticule.methods.select import SMALLEST, select

Share = Annotated[float, Field(ge=0, le=1)]


def prunable(form: Form) -> str:
    """Why a form cannot be pruned, or the empty string."""
    free = isinstance(form, Dense) or (isinstance(form, Sparse) and isinstance(form.values, Dense))
    return "" if free else f"already in the form {form.name}"


@method("threshold-pruning")
@dataclass(frozen=True)
class ThresholdPruning:
    """Set all weights below a threshold to zero and store only the others.

    With ``density`` None the threshold of a layer is ``quality`` times the standard
    deviation of its weights, as in the source.  With a ``density`` (0 to 1) the cut
    keeps that share of the weights: of all together, ranked by ``score``
    (``scope: global``), or of each tensor (``scope: layer``).  Any other ``scope`` is a
    measure of what each layer needs, to which its density is in proportion: "communities",
    "k-core" and "effective-rank" look at the weights, "curvature" and "sensitivity" at images
    (:mod:`reticule.methods.prune.allocation`).  Follow it with a ``retrain`` stage; repeat the
    pair for iterative pruning.

    Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections for
    Efficient Neural Networks", NIPS 2015.  Sources of the measures are where they are.

    >>> ThresholdPruning(density=0.1, scope="communities").scope
    'communities'
    """

    quality: Annotated[float, Field(ge=0)] = 0.7
    density: Share | None = None
    scope: Scope | Measure = "global"
    score: Score = "lamp"
    floor: Share = 0.01
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        weights = {name: packed.forms[name].dense() for name in names}
        notes: dict[str, object] = {}
        if self.density is None:
            if self.scope not in ("global", "layer"):
                raise RecipeError(f"scope '{self.scope}' gives out a density: set one")
            masks = {n: np.abs(w) > self.quality * w.std() for n, w in weights.items()}
        else:
            scope = scope_of(self.scope, packed, names, context)
            notes = noted(scope)
            masks = masks_at(weights, self.density, scope=scope, score=self.score, floor=self.floor)
        forms = {name: Sparse.keep(weights[name], masks[name]) for name in names}
        return Outcome(packed.with_forms(forms), skipped, {**notes, "density": density_of(masks)})


def density_of(masks: dict[str, np.ndarray]) -> float:
    """Share of the weights that masks keep."""
    size = sum(mask.size for mask in masks.values())
    return sum(int(mask.sum()) for mask in masks.values()) / max(size, 1)
