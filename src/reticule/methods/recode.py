"""Recoding: the same weights, coded anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from reticule.forms import Codebook, Dense, Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method


@method("recode")
@dataclass(frozen=True)
class Recode:
    """Keep every weight as it is, to the bit, in the form that it came in.

    For networks that are compressed already: ``.ret`` files of an earlier version or
    another preset, and Deep Compression's ``.net`` files.  ``codebooks`` "sorted" puts
    centroids in rising order and drops those that no weight has, which takes fewer
    bytes; "kept" leaves them in their order, so that ``export`` gives back a ``.net``
    file byte for byte.
    """

    codebooks: Literal["sorted", "kept"] = "sorted"

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        forms, skipped = {}, {}
        for name, form in packed.forms.items():
            came = context.given.forms.get(name) if context.given else None
            if came is None or not _same(came, form):
                skipped[name] = "changed by an earlier stage"
            else:
                forms[name] = _tidy(came) if self.codebooks == "sorted" else came
        packed = packed.with_forms(forms)
        if context.given:
            hints = {name: hint for name, hint in context.given.hints.items() if name in forms}
            packed = replace(packed, hints=hints)
        return Outcome(packed, skipped)


def _same(a: Form, b: Form) -> bool:
    """Equal to the bit."""
    return a.shape == b.shape and a.dense().tobytes() == b.dense().tobytes()


def _tidy(form: Form) -> Form:
    """The same weights, with codebooks in rising order and without stored zeros."""
    if isinstance(form, Codebook):
        return _sorted(form)
    if isinstance(form, Sparse) and isinstance(form.values, Codebook):
        values = form.values.dense()
        kept = values.view(np.uint32) != 0  # -0.0 is no zero that can be left out
        mask = np.zeros(form.size, bool)
        mask[form.positions()[kept]] = True
        codes = replace(form.values, indices=form.values.indices[kept])
        return Sparse.at(mask.reshape(form.shape), _sorted(codes))
    return form


def _sorted(form: Codebook) -> Codebook:
    """The same values by centroids in rising order, each there once, all of them in use."""
    table = form.centroids
    if not isinstance(table, Dense):
        return form
    used = np.flatnonzero(np.bincount(form.indices.ravel(), minlength=table.size))
    # Halves and floats order as their values do; the sign bit tells -0.0 from 0.0.
    values = table.values[used]
    order = np.lexsort((~np.signbit(values), values))
    patterns = values[order].view(f"u{values.itemsize}")
    first = np.ones(order.size, bool)
    first[1:] = patterns[1:] != patterns[:-1]
    new_index = np.zeros(table.size, np.intp)
    new_index[used[order]] = np.cumsum(first) - 1
    return Codebook(new_index[form.indices], Dense(values[order][first]))
