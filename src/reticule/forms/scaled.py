"""Scaled: a form whose output channels have scales of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Scaled(Form):
    """Each weight is a value times the scale of its row: one float32 product.

    Row r is all that has the index r on the first axis: an output channel.  ``values``
    has at least one axis, ``scales`` the shape (rows,).  So binary and ternary levels
    keep the spread that each channel had (Rastegari et al., "XNOR-Net", ECCV 2016,
    section 3.1).  Values and scales so large that a product may be infinite are a
    ValueError.

    >>> from reticule.forms import Dense, Quantised
    >>> signs = Quantised(np.array([[1, -1], [-1, 0]]), 1.0)
    >>> Scaled(signs, Dense(np.array([0.5, 3.0], "f4"))).dense()
    array([[ 0.5, -0.5],
           [-3. ,  0. ]], dtype=float32)
    """

    values: Form
    scales: Form

    def __post_init__(self) -> None:
        if not self.values.shape or self.scales.shape != self.values.shape[:1]:
            raise ValueError(f"scales of {self.scales.shape} for the shape {self.values.shape}")
        if _reach(self.values) * _reach(self.scales) > _LARGEST:
            raise ValueError("values and scales are so large that a product may be infinite")

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return self.values.shape

    @property
    def name(self) -> str:
        return f"scaled({self.values.name})"

    def dense(self) -> np.ndarray:
        scales = self.scales.dense()
        return self.values.dense() * scales.reshape(-1, *[1] * (len(self.shape) - 1))

    @property
    def nonzero(self) -> int:
        if self.scales.dense().all():
            return self.values.nonzero
        return int(np.count_nonzero(self.dense()))

    @property
    def macs(self) -> int:
        """Those of the values; a scale is one more product for each output."""
        return self.values.macs

    @property
    def bits(self) -> int:
        """Values and scales."""
        return self.values.bits + self.scales.bits


def _reach(form: Form) -> float:
    values = form.dense()
    return float(max(values.max(initial=0), -values.min(initial=0)))
