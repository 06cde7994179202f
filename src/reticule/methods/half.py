"""Half precision for what is still stored in full: biases, scales, small tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from reticule.forms import Dense, Factored, Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method


@method("half-precision")
@dataclass(frozen=True)
class HalfPrecision:
    """Keep every tensor that is still in full in float16 instead of float32.

    That is dense tensors, the values of sparse ones that have no other form, and such
    factors of factored ones.  A tensor or factor with values outside of float16's range, or
    so small that rounding would change one by more than 1 % of the largest, is left as it is.
    """

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        forms, skipped = {}, {}
        for name, form in packed.forms.items():
            parts = form.factors if isinstance(form, Factored) else (form,)
            reasons = [_unfit(part) for part in parts]
            if all(reasons):
                skipped[name] = reasons[0] if len(parts) == 1 else f"in the form {form.name}"
                continue
            halves = [
                part if reason else _halved(part)
                for part, reason in zip(parts, reasons, strict=True)
            ]
            forms[name] = Factored(*halves) if isinstance(form, Factored) else halves[0]
        return Outcome(packed.with_forms(forms), skipped)


def _halved(form: Form) -> Form:
    if isinstance(form, Sparse):
        return replace(form, values=_halved(form.values))
    assert isinstance(form, Dense)
    return Dense(form.values.astype(np.float16))


def _unfit(form: Form) -> str:
    if isinstance(form, Sparse):
        form = form.values
    if not isinstance(form, Dense):
        return f"in the form {form.name}"
    with np.errstate(over="ignore"):
        half = form.values.astype(np.float16).astype(np.float32)
    largest = np.abs(form.values).max(initial=0.0)
    if np.abs(half - form.values).max(initial=0.0) > 0.01 * largest:
        return "outside of float16's range"
    return ""
