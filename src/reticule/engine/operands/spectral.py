"""Kernels as frequencies."""

from __future__ import annotations

import numpy as np

from reticule import _native
from reticule.engine.operands.base import Operand
from reticule.forms import Spectral
from reticule.forms.spectral import dct_basis


class SpectralOperand(Operand):
    """The operand of the coefficients; kernels are transformed when they are used."""

    def __init__(self, form: Spectral, coefficients: Operand) -> None:
        super().__init__(form.shape)
        self.coefficients = coefficients
        self.vertical, self.horizontal = (dct_basis(axis) for axis in self.shape[-2:])

    @property
    def nbytes(self) -> int:
        return self.coefficients.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        rows = np.ascontiguousarray(self.coefficients.matrix(first, last))
        kernels = rows.reshape(-1, *self.shape[-2:])
        out = np.empty_like(kernels)
        _native.inverse_dct(kernels, out, self.vertical, self.horizontal, threads=1)
        return out.reshape(last - first, self.columns)
