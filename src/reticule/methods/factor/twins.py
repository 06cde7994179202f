"""The twin of factored weights: each factor is trained in its own form."""

from __future__ import annotations

import torch
from torch import Tensor

import reticule.methods.prune.twins  # noqa: F401  factors may be sparse
from reticule.forms import Factored
from reticule.tuning.twins import TWINS, Twin, twin_of


class FactoredTwin(Twin):
    """Twins of rows, core and columns; ranks stay."""

    def __init__(self, form: Factored) -> None:
        self._rows, self._core = twin_of(form.rows), twin_of(form.core)
        self._columns = None if form.columns is None else twin_of(form.columns)

    @property
    def _twins(self) -> list[Twin]:
        return [t for t in (self._rows, self._core, self._columns) if t is not None]

    def tensor(self) -> Tensor:
        rows, core = self._rows.tensor(), self._core.tensor()
        if self._columns is not None:
            core = torch.einsum("as...,is->ai...", core, self._columns.tensor())
        return (rows @ core.flatten(1)).reshape(len(rows), *core.shape[1:])

    def parameters(self) -> list[Tensor]:
        return [leaf for twin in self._twins for leaf in twin.parameters()]

    def form(self) -> Factored:
        return Factored(*(twin.form() for twin in self._twins))


TWINS[Factored] = FactoredTwin
