"""Quantised values: what hashed layers share and factors hold, in a few bits each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import Dense, Factored, Form, Hashed, Packed, Quantised, Sparse, Spectral
from reticule.forms.quantised import short_step
from reticule.methods.base import Context, Outcome, method
from reticule.methods.hash.hashing import values_of
from reticule.methods.prune.threshold import prunable
from reticule.methods.select import select

_TIGHTENED = np.linspace(1.0, 0.3, 15)  # of the largest value, as the end of the grid


@method("quantise-values")
@dataclass(frozen=True)
class QuantiseValues:
    """Keep the shared values of hashed layers as integers of ``bits`` bits times a step.

    Likewise the factors of factored layers, each with a step of its own.  The step is the one
    with the least squared error,

        sum over values v of (v - step * clip(round(v / step), -L, L))^2,  L = 2^(bits - 1) - 1

    among some between the step at which no value is clipped and 0.3 of it.  With 8 bits
    that costs no accuracy to speak of, and takes a quarter of the bytes of float32.
    Training afterwards keeps values on their grid.

    Source: ours; quantising composes with hashing as there are no indices to store.
    """

    bits: Annotated[int, Field(ge=2, le=16)] = 8
    skip: Sequence[str] = ()

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=1, accept=_unfit)
        forms = {name: self._quantised(packed.forms[name]) for name in names}
        return Outcome(packed.with_forms(forms), skipped)

    def _quantised(self, form: Form) -> Form:
        if isinstance(form, Factored):
            return Factored(*(self._factor(part) for part in form.factors))
        if isinstance(form, Spectral):
            return replace(form, coefficients=self._quantised(form.coefficients))
        if isinstance(form, Sparse):
            return replace(form, values=self._quantised(form.values))
        if isinstance(form, Hashed):
            return replace(form, values=on_grid(form.values.dense(), self.bits))
        raise TypeError(f"{form.name} is neither hashed nor factored")

    def _factor(self, form: Form) -> Form:
        if isinstance(form, Sparse) and isinstance(form.values, Dense):
            return replace(form, values=on_grid(form.values.dense(), self.bits))
        return on_grid(form.dense(), self.bits) if isinstance(form, Dense) else form


def on_grid(values: np.ndarray, bits: int) -> Quantised:
    """Values on the grid of so many bits that is nearest to them.

    >>> on_grid(np.array([1.0, -0.49, 0.0], "f4"), 2).levels.tolist()
    [1, -1, 0]
    """
    largest = (1 << (bits - 1)) - 1
    exact = values.astype(np.float64)
    reach = max(float(np.abs(exact).max(initial=0.0)), 1e-30)
    best: Quantised | None = None
    least = np.inf
    for tightened in _TIGHTENED:
        step = short_step(tightened * reach / largest, up=True)
        levels = np.clip(np.rint(exact / step), -largest, largest)
        error = float(np.square(exact - step * levels).sum())
        if best is None or error < least:
            best, least = Quantised(levels.astype(np.int32), step), error
    assert best is not None
    return best


def _unfit(form: Form) -> str:
    if isinstance(form, Factored):
        free = any(not prunable(part) for part in form.factors)
        return "" if free else f"factors already in the form {form.name}"
    try:
        values = values_of(form)
    except TypeError:
        return f"{form.name} is neither hashed nor factored"
    return "" if isinstance(values, Dense) else f"values already in the form {values.name}"
