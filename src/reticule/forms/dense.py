"""Dense: every weight as a floating-point number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape, frozen


@dataclass(frozen=True, eq=False)
class Dense(Form):
    """Weights as they are, in float32 or float16.

    >>> Dense(np.array([1.0, 2.5], "f2")).dense()
    array([1. , 2.5], dtype=float32)
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.dtype not in (np.float32, np.float16):
            raise TypeError(f"Dense holds float32 or float16, not {self.values.dtype}")
        object.__setattr__(self, "values", frozen(self.values))

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return tuple(self.values.shape)

    @property
    def name(self) -> str:
        return "dense" if self.values.dtype == np.float32 else "dense(float16)"

    def dense(self) -> np.ndarray:
        return self.values.astype(np.float32, copy=False)

    @property
    def nonzero(self) -> int:
        return int(np.count_nonzero(self.values))

    @property
    def bits(self) -> int:
        return self.values.size * self.values.dtype.itemsize * 8
