"""Twins of coefficients: pruned and spliced, shrunk, on a grid, with a common part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reticule.forms import Common, Form, Quantised, Sparse
from reticule.methods.prune.twins import LOWER, UPPER
from reticule.tuning.twins import TWINS, FixedTwin, Twin, array, leaf, twin_of


class MaskTwin(Twin):
    """Coefficients under a mask that may change; those not ``allowed`` are zero for good."""

    def __init__(self, values: np.ndarray, allowed: np.ndarray) -> None:
        self._values = leaf(values)
        self._allowed = np.array(allowed, bool)
        self._factor = torch.zeros_like(self._values, requires_grad=False)
        self.mask = self._allowed

    @property
    def mask(self) -> np.ndarray:
        """Which coefficients are in use."""
        return array(self._factor) != 0

    @mask.setter
    def mask(self, mask: np.ndarray) -> None:
        self._factor.copy_(torch.from_numpy(mask & self._allowed))

    def tensor(self) -> Tensor:
        return self._values * self._factor

    def parameters(self) -> list[Tensor]:
        return [self._values]

    def values(self) -> np.ndarray:
        """All coefficients that are allowed, also those that the mask hides."""
        return array(self._values) * self._allowed

    def form(self) -> Sparse:
        return Sparse.keep(array(self._values), self.mask)


class SplicedTwin(MaskTwin):
    """Pruned coefficients that may come back.

    While it is ``open``, the gradient of the masked coefficients goes to all of them
    (straight through the mask), so that what was pruned moves on; afterwards only to those
    in use.
    """

    open = True

    def tensor(self) -> Tensor:
        if not self.open:
            return super().tensor()
        masked = (self._values * self._factor).detach()
        return self._values + (masked - self._values).detach()

    def splice(self, threshold: np.ndarray) -> int:
        """Prune what is below 0.9 thresholds, bring back what is above 1.1; how many came.

        ``threshold`` has the tensor's shape, or broadcasts to it.
        """
        size, before = np.abs(self.values()), self.mask
        back = (size > UPPER * threshold) & self._allowed & ~before
        self.mask = (before | back) & (size > LOWER * threshold)
        return int(back.sum())


class ShrunkTwin(MaskTwin):
    """Coefficients that are shrunk now and then; what becomes zero stays zero."""

    def shrink(self, threshold: float, by: float | None = None) -> None:
        """Soft threshold: zero up to the threshold, others smaller ``by`` as much.

        A smaller ``by`` is for coefficients that have been shrunk before.
        """
        values = self.values()
        self.mask = self.mask & (np.abs(values) > np.float32(threshold))
        less = np.float32(threshold if by is None else by)
        with torch.no_grad():
            shrunk = np.sign(values) * np.maximum(np.abs(values) - less, 0)
            self._values.copy_(torch.from_numpy(shrunk))


class GridTwin(Twin):
    """Levels of a uniform grid, trained straight through the rounding.

    With step d the tensor is ``d * round(w / d)`` for free coefficients w, whose gradient is
    taken for that of the rounded ones.  Levels that are zero at the start stay zero.
    """

    def __init__(self, form: Quantised) -> None:
        self._step = form.step
        self._values = leaf(form.dense())
        self._factor = torch.zeros_like(self._values, requires_grad=False)
        self._factor.copy_(torch.from_numpy(form.levels != 0))

    def _levels(self) -> Tensor:
        return torch.round(self._values.detach() / self._step) * self._factor

    def tensor(self) -> Tensor:
        free = self._values * self._factor
        return free + (self._levels() * self._step - free).detach()

    def parameters(self) -> list[Tensor]:
        return [self._values]

    def form(self) -> Quantised:
        return Quantised(array(self._levels()).astype(np.int32), self._step)


def quantised_twin(form: Quantised) -> Twin:
    """Levels on a trellis depend on each other: they stay."""
    return FixedTwin(form) if form.states else GridTwin(form)


class CommonTwin(Twin):
    """Centres and residuals train; who shares a centre stays.

    The gradient of a centre is the sum over its kernels.
    """

    def __init__(
        self, form: Common, centres: Twin | None = None, residual: Twin | None = None
    ) -> None:
        self._form = form
        self._centres = centres or twin_of(form.centres)
        self._residual = residual or twin_of(form.residual)
        self._labels = torch.from_numpy(form.labels.astype(np.int64))

    def tensor(self) -> Tensor:
        residual = self._residual.tensor()
        if not self._form.size:
            return residual
        # An embedding sums gradients in a fixed order on a CPU.
        flat = F.embedding(self._labels, self._centres.tensor().flatten(1))
        return flat.reshape(self._form.shape) + residual

    def parameters(self) -> list[Tensor]:
        return [*self._centres.parameters(), *self._residual.parameters()]

    def form(self) -> Form:
        return replace(self._form, centres=self._centres.form(), residual=self._residual.form())


TWINS[Quantised] = quantised_twin
TWINS[Common] = CommonTwin
