"""Factored: a layer of low rank, kept as thin factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.forms.base import Form, Shape
from reticule.forms.sparse import Sparse

_LARGEST = float(np.finfo(np.float32).max)
_BLOCK = 1 << 17  # numbers that are restored together


@dataclass(frozen=True, eq=False)
class Factored(Form):
    """A product of thin factors, which a layer applies one after the other.

    ``rows`` has the shape (O, R), ``core`` (R, S, ...) with the axes of kernels, if there are
    any, and ``columns`` (I, S); a weight is

        W[o, i, ...] = sum over a and b of rows[o, a] core[a, b, ...] columns[i, b]

    (Tucker, 1966; of convolutions: Kim et al., ICLR 2016).  Without ``columns`` they are the
    identity, and the core has the shape (R, I, ...).  Sums are in float64, over b and then
    over a, from the first term to the last, each rounded by itself; so weights are the same
    everywhere.  Factors so large that a weight may be infinite are a ValueError.

    In a convolution with groups i counts the channels of one group.

    >>> from reticule.forms import Dense
    >>> rows, core = np.array([[1.0], [2.0]], "f4"), np.array([[3.0, 0.5]], "f4")
    >>> Factored(Dense(rows), Dense(core)).dense()
    array([[3. , 0.5],
           [6. , 1. ]], dtype=float32)
    """

    rows: Form
    core: Form
    columns: Form | None = None

    def __post_init__(self) -> None:
        shapes = [part.shape for part in self.factors]
        if any(len(shape) < 2 for shape in shapes) or any(len(s) > 2 for s in shapes[::2]):
            raise ValueError(f"factors of the shapes {shapes}")
        inner = (shapes[0][1], self.columns.shape[1] if self.columns else shapes[1][1])
        if shapes[1][:2] != inner:
            raise ValueError(f"a core of {shapes[1]} between factors of ranks {inner}")
        if reach(self) > _LARGEST:
            raise ValueError("factors are so large that a weight may be infinite")

    @property
    def factors(self) -> tuple[Form, ...]:
        """Rows, core, and columns if there are any."""
        if self.columns is None:
            return self.rows, self.core
        return self.rows, self.core, self.columns

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        inputs = self.core.shape[1] if self.columns is None else self.columns.shape[0]
        return self.rows.shape[0], inputs, *self.core.shape[2:]

    @property
    def name(self) -> str:
        """The ranks, and the forms of the factors unless all of them are plain."""
        ranks = str(self.rows.shape[1])
        if self.columns is not None:
            ranks += f"x{self.columns.shape[1]}"
        names = list(dict.fromkeys(part.name for part in self.factors))
        if len(names) > 1:
            names = [part.name for part in self.factors]
        return f"factored{ranks}" + ("" if names == ["dense"] else f"({', '.join(names)})")

    def dense(self) -> np.ndarray:
        return self.restored(0, self.shape[0]).reshape(self.shape)

    def restored(self, first: int, last: int) -> np.ndarray:
        """Rows ``first`` to ``last`` of the matrix: float32 (last - first, inputs x taps)."""
        wide = int(np.prod(self.shape[1:], dtype=np.int64))
        if not (last - first) * wide:
            return np.zeros((last - first, wide), np.float32)
        right = self._right().reshape(self.rows.shape[1], wide)
        left = self.rows.dense()[first:last].astype(np.float64)
        out = np.empty((last - first, wide), np.float32)
        step = max(1, _BLOCK // wide)
        for start in range(0, last - first, step):
            some = left[start : start + step]
            total = np.zeros((len(some), wide))
            for a in range(len(right)):
                term = some[:, a : a + 1] * right[a]
                total = total + term if a else term
            out[start : start + step] = total
        return out

    def _right(self) -> np.ndarray:
        """Core and columns multiplied: float64 (R, I, taps)."""
        core = self.core.dense().astype(np.float64)
        core = core.reshape(*core.shape[:2], int(np.prod(core.shape[2:], dtype=np.int64)))
        if self.columns is None:
            return core
        columns = self.columns.dense().astype(np.float64)
        total = np.zeros((core.shape[0], columns.shape[0], core.shape[2]))
        for b in range(core.shape[1]):
            term = columns[:, b, None] * core[:, None, b]
            total = total + term if b else term
        return total

    @property
    def nonzero(self) -> int:
        """Weights to which a stored number of every factor contributes."""
        if not any(isinstance(part, Sparse) for part in self.factors):
            return self.size if 0 not in self.core.shape else 0
        support = [(part.dense() != 0).astype(np.float32) for part in self.factors]
        right = support[1].reshape(*support[1].shape[:2], -1)
        if self.columns is not None:
            right = np.einsum("abk,ib->aik", right, support[2], optimize=True)
        return int(np.count_nonzero(support[0] @ right.reshape(len(right), -1)))

    @property
    def macs(self) -> int:
        """Those of the factors, one after the other."""
        return sum(part.macs for part in self.factors)

    def multiplications(self, groups: int = 1) -> int:
        """With groups, the kernels are restored."""
        return self.macs if groups == 1 else self.size

    @property
    def bits(self) -> int:
        """All factors."""
        return sum(part.bits for part in self.factors)


def reach(form: Factored) -> float:
    """What no sum of products can exceed: the largest numbers times the ranks."""
    bound = 1.0
    for part in form.factors:
        values = part.dense()
        bound *= float(max(values.max(initial=0), -values.min(initial=0)))
    return bound * form.rows.shape[1] * (form.columns.shape[1] if form.columns else 1)
