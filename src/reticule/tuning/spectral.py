"""The twin of kernels as frequencies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Spectral
from reticule.forms.spectral import dct_basis
from reticule.tuning.twins import TWINS, Twin, twin_of


class SpectralTwin(Twin):
    """Trains whatever the form of the coefficients leaves free.

    Kernels are their coefficients times one matrix, the inverse of the orthonormal
    two-dimensional DCT-II, so that gradients come back through the forward transform.
    """

    def __init__(self, form: Spectral, coefficients: Twin | None = None) -> None:
        self._form = form
        self._coefficients = coefficients or twin_of(form.coefficients)
        vertical, horizontal = (dct_basis(axis) for axis in form.shape[-2:])
        self._inverse = torch.from_numpy(np.kron(vertical, horizontal).astype(np.float32))

    def tensor(self) -> Tensor:
        spectra = self._coefficients.tensor().reshape(-1, len(self._inverse))
        return (spectra @ self._inverse).reshape(self._form.shape)

    def parameters(self) -> list[Tensor]:
        return self._coefficients.parameters()

    def form(self) -> Spectral:
        return replace(self._form, coefficients=self._coefficients.form())


TWINS[Spectral] = SpectralTwin
