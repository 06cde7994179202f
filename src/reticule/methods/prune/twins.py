"""Training under a pruning mask: the twin of the sparse form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Dense, Form, Sparse
from reticule.tuning.twins import TWINS, Twin, array, leaf, twin_of


class MaskedTwin(Twin):
    """Weights times a mask.  The mask may be changed while training goes on."""

    def __init__(self, weights: np.ndarray, mask: np.ndarray) -> None:
        self._weights = leaf(weights)
        self.mask = mask

    @property
    def mask(self) -> np.ndarray:
        return self._mask

    @mask.setter
    def mask(self, mask: np.ndarray) -> None:
        self._mask = np.array(mask, bool)
        self._factor = torch.zeros_like(self._weights, requires_grad=False)
        self._factor.copy_(torch.from_numpy(self._mask))

    def tensor(self) -> Tensor:
        return self._weights * self._factor

    def parameters(self) -> list[Tensor]:
        return [self._weights]

    def values(self) -> np.ndarray:
        """The weights as they are now, zero where masked."""
        return array(self._weights) * self._mask

    def form(self) -> Sparse:
        return Sparse.keep(array(self._weights), self._mask)


class ScatteredTwin(Twin):
    """Values of an inner form at fixed positions, zero elsewhere."""

    def __init__(self, form: Sparse) -> None:
        self._form = form
        self._inner = twin_of(form.values)
        self._positions = torch.from_numpy(form.positions())

    def tensor(self) -> Tensor:
        flat = torch.zeros(self._form.size).index_copy(0, self._positions, self._inner.tensor())
        return flat.reshape(self._form.shape)

    def parameters(self) -> list[Tensor]:
        return self._inner.parameters()

    def form(self) -> Form:
        form = self._form
        return Sparse(form.shape, form.indptr, form.columns, self._inner.form())


def sparse_twin(form: Sparse) -> Twin:
    """Masked weights where the values are free, scattered ones where they have a form."""
    if isinstance(form.values, Dense):
        return MaskedTwin(form.dense(), form.mask())
    return ScatteredTwin(form)


TWINS[Sparse] = sparse_twin
