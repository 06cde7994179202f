"""Training under a pruning mask: the twins of the sparse form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reticule.forms import Dense, Form, Sparse
from reticule.tuning.twins import TWINS, Twin, array, leaf, twin_of

LOWER, UPPER = 0.9, 1.1  # of a threshold: below it is pruned, above it spliced back


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


class SplicingTwin(Twin):
    """Weights under a mask, all of which take part in training.

    While it is ``open``, the gradient of ``w * T`` goes to all weights; afterwards only
    to those that are not masked.  Weights that are zero in the beginning because an
    earlier stage pruned them (``allowed`` is False) stay so.

    >>> twin = SplicingTwin(np.array([0.5, -2.0, 0.95], "f4"), np.ones(3, bool))
    >>> twin.operate(1.0)  # none has come back
    0
    >>> twin.mask().tolist()
    [False, True, True]
    """

    def __init__(self, weights: np.ndarray, allowed: np.ndarray) -> None:
        self._weights = leaf(weights)
        self._allowed = torch.from_numpy(np.array(allowed, bool))
        self._factor = torch.zeros_like(self._weights, requires_grad=False)
        self._factor.copy_(self._allowed)
        self.open = True

    def tensor(self) -> Tensor:
        if not self.open:
            return self._weights * self._factor
        masked = self._weights.detach() * self._factor
        return self._weights + (masked - self._weights).detach()

    def parameters(self) -> list[Tensor]:
        return [self._weights]

    def weights(self) -> np.ndarray:
        """All weights as they are now, also masked ones, but not what must stay zero."""
        return array(self._weights) * self._allowed.cpu().numpy()

    def mask(self) -> np.ndarray:
        return array(self._factor) != 0

    @torch.no_grad()
    def shrink(self, factor: float) -> None:
        self._weights.mul_(factor)

    @torch.no_grad()
    def operate(self, threshold: float | np.ndarray) -> int:
        """Decide the mask anew, by one threshold or one for each; how many have come back."""
        size = self._weights.abs()
        bar = torch.as_tensor(threshold, dtype=size.dtype, device=size.device)
        back = (size > UPPER * bar) & self._allowed & (self._factor == 0)
        self._factor.masked_fill_(back, 1.0)
        self._factor.masked_fill_(size <= LOWER * bar, 0.0)
        return int(back.sum())

    @torch.no_grad()
    def cut(self, mask: np.ndarray) -> None:
        """Keep only what a mask keeps too."""
        self._factor.mul_(torch.from_numpy(mask).to(self._factor.device))

    def form(self) -> Sparse:
        return Sparse.keep(array(self._weights), self.mask())


class ScatteredTwin(Twin):
    """Values of an inner form at fixed positions, zero elsewhere."""

    def __init__(self, form: Sparse) -> None:
        self._form = form
        self._inner = twin_of(form.values)
        self._positions = torch.from_numpy(form.positions())

    def tensor(self) -> Tensor:
        values = self._inner.tensor()
        flat = values.new_zeros(self._form.size).index_copy(0, self._positions, values)
        return flat.reshape(self._form.shape)

    def parameters(self) -> list[Tensor]:
        return self._inner.parameters()

    def form(self) -> Form:
        form = self._form
        return Sparse(form.shape, form.indptr, form.columns, self._inner.form())


def sparse_twin(form: Sparse) -> Twin:
    """Masked weights where the values are free, scattered ones where they have a form.

    Values in float16 are scattered too: they stay what they are.
    """
    if isinstance(form.values, Dense) and form.values.values.dtype == np.float32:
        return MaskedTwin(form.dense(), form.mask())
    return ScatteredTwin(form)


TWINS[Sparse] = sparse_twin
