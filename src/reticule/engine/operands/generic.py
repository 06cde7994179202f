"""Any form, without knowing it."""

from __future__ import annotations

import numpy as np

from reticule.engine.operands.base import Operand
from reticule.forms import Form


class FormOperand(Operand):
    """Any form, by its own ``dense()`` whenever it is used."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.shape)
        self.form = form

    @property
    def nbytes(self) -> int:
        return resident(self.form)

    def matrix(self, first: int, last: int) -> np.ndarray:
        return self.form.dense().reshape(self.rows, self.columns)[first:last]

    def linear(self, x: np.ndarray, threads: int) -> np.ndarray:
        return self.expanded().linear(x, threads)


def resident(form: Form) -> int:
    """Bytes of all arrays that a form and the forms inside it hold."""
    parts = vars(form).values()
    return sum(
        part.nbytes if isinstance(part, np.ndarray) else resident(part)
        for part in parts
        if isinstance(part, np.ndarray | Form)
    )
