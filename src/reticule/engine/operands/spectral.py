"""Kernels as frequencies."""

from __future__ import annotations

import numpy as np

from reticule import _native
from reticule.engine.operands.base import Operand
from reticule.engine.operands.common import CommonOperand
from reticule.forms import Spectral
from reticule.forms.spectral import dct_basis


class SpectralOperand(Operand):
    """The operand of the coefficients.

    A convolution with sparse coefficients is done in frequencies where that takes fewer
    multiplications; otherwise kernels are transformed when they are used.
    """

    def __init__(self, form: Spectral, coefficients: Operand) -> None:
        super().__init__(form.shape)
        self.form, self.coefficients = form, coefficients
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

    def ready(self, groups: int) -> Operand:
        return FrequencyOperand(self) if self.form.stays(groups) else self.expanded()


class FrequencyOperand(Operand):
    """Multiplies coefficients by transformed windows: kernels are never restored.

    The responses to the basis images are the two-dimensional DCT of every window, computed
    once for each input channel whatever the number of output channels.
    """

    def __init__(self, spectral: SpectralOperand) -> None:
        super().__init__(spectral.shape)
        inner = spectral.coefficients
        responding = inner.responding() if isinstance(inner, CommonOperand) else None
        self.coefficients = responding or inner.expanded()
        self.vertical = spectral.vertical.astype(np.float32)
        self.horizontal = spectral.horizontal.astype(np.float32)

    @property
    def nbytes(self) -> int:
        return self.coefficients.nbytes

    def matrix(self, first: int, last: int) -> np.ndarray:
        raise NotImplementedError("only convolves")

    def convolve(self, columns: np.ndarray, threads: int) -> np.ndarray:
        return self.coefficients.convolve(self.responses(columns), threads)

    def responses(self, columns: np.ndarray) -> np.ndarray:
        """Windows (N, G, K, P) to their frequencies, along y and then along x."""
        height, width = self.shape[-2:]
        out = columns
        if height > 1:
            out = np.matmul(self.vertical, out.reshape(-1, height, width * columns.shape[-1]))
        if width > 1:
            out = np.matmul(self.horizontal, out.reshape(-1, width, columns.shape[-1]))
        return out.reshape(columns.shape)
