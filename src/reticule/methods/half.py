"""Half precision for what is still stored in full: biases, scales, small tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from reticule.forms import Dense, Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method


@method("half-precision")
@dataclass(frozen=True)
class HalfPrecision:
    """Keep every tensor that is still in full in float16 instead of float32.

    That is dense tensors, and the values of sparse ones that have no other form.  A
    tensor with values outside of float16's range, or so small that rounding would change
    one by more than 1 % of the largest, is left as it is.
    """

    needs_data: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        forms, skipped = {}, {}
        for name, form in packed.forms.items():
            inner = form.values if isinstance(form, Sparse) else form
            if reason := _unfit(inner):
                skipped[name] = reason
            elif isinstance(inner, Dense):
                half = Dense(inner.values.astype(np.float16))
                forms[name] = replace(form, values=half) if isinstance(form, Sparse) else half
        return Outcome(packed.with_forms(forms), skipped)


def _unfit(form: Form) -> str:
    if not isinstance(form, Dense):
        return f"in the form {form.name}"
    with np.errstate(over="ignore"):
        half = form.values.astype(np.float16).astype(np.float32)
    largest = np.abs(form.values).max(initial=0.0)
    if np.abs(half - form.values).max(initial=0.0) > 0.01 * largest:
        return "outside of float16's range"
    return ""
