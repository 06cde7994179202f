"""Weights that a hash function lets share a few values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reticule.engine.operands.base import Operand
from reticule.engine.operands.generic import resident
from reticule.forms import Dense, Hashed


class HashedOperand(Operand):
    """The shared values in their own form; positions are hashed anew whenever they are used."""

    def __init__(self, form: Hashed) -> None:
        super().__init__(form.shape)
        self.form = form

    @property
    def nbytes(self) -> int:
        return resident(self.form.values)

    def matrix(self, first: int, last: int) -> np.ndarray:
        values = self.form.values.dense()
        rows = self.form.restored(values, first * self.columns, last * self.columns)
        return rows.reshape(last - first, self.columns)

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        """Values are expanded once, not for every block of rows."""
        plain = replace(self.form, values=Dense(self.form.values.dense()))
        return Operand.linear(HashedOperand(plain), x, threads)
