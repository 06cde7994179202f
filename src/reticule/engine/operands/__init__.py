"""The run form of weight tensors: how each form is held in memory and multiplied with.

An operand is made once, when a network is loaded.  It shares the arrays of its form, so
that weights are never larger in memory than their form needs:

=================  ===========================  =========================================
form               resident                     while a layer runs
=================  ===========================  =========================================
dense              float32, or float16          nothing; float16: expanded, as below
codebook           uint8/uint16 and table       linear: a block of rows at a time;
                                                convolution: this layer's matrix
sparse             row pointers, columns        nothing: multiplied as it lies in memory,
                   (uint16/uint32), and values  codes of a codebook included; where rows were
                                                pruned four by four, they share columns and
                                                are multiplied together
quantised          int8/int16/int32 levels      as codebook
spectral           its coefficients' operand    sparse ones: windows are transformed, kernels
                                                are not restored; others: as codebook
common             labels, operands of centres  sparse residuals: responses of the centres;
                   and residuals                others: as codebook
scaled             its values' operand, scales  as its values; convolution: this layer's
                                                matrix
hashed             its values                   as codebook, positions hashed
lapped, wavelet    their coefficients' operand  as codebook, transformed; where an image of
                                                the transform has many rows: this layer's
                                                matrix
bit planes         int8/int16/int32 levels      as codebook
factored           its factors' operands        linear: nothing; convolution: the core as its
                                                form; with groups: this layer's matrix
any other form     the form's own arrays        expanded, by the form's ``dense()``
=================  ===========================  =========================================

A new form runs through the last row at once; a module with an operand of its own and an
entry in ``RUN_FORMS`` make it run better.

>>> import numpy as np
>>> from reticule.forms import Sparse
>>> weight = np.array([[0, 2, 0], [0, 0, 0]], "f4")
>>> operand = operand_of(Sparse.keep(weight, weight != 0))
>>> operand.linear(np.array([[1, 10, 100]], "f4"), threads=1)
array([[20.,  0.]], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable

from reticule.engine.operands.base import BLOCK_BYTES as BLOCK_BYTES
from reticule.engine.operands.base import DenseOperand as DenseOperand
from reticule.engine.operands.base import Operand as Operand
from reticule.engine.operands.blocks import StripsOperand, strips_of
from reticule.engine.operands.codebook import CodebookOperand
from reticule.engine.operands.common import CommonOperand
from reticule.engine.operands.factored import FactoredOperand as FactoredOperand
from reticule.engine.operands.generic import FormOperand as FormOperand
from reticule.engine.operands.grids import ImagesOperand
from reticule.engine.operands.hashed import HashedOperand
from reticule.engine.operands.planes import PlanesOperand
from reticule.engine.operands.quantised import QuantisedOperand
from reticule.engine.operands.scaled import ScaledOperand
from reticule.engine.operands.sparse import SparseOperand
from reticule.engine.operands.spectral import SpectralOperand
from reticule.forms import (
    BitPlanes,
    Codebook,
    Common,
    Dense,
    Factored,
    Form,
    Hashed,
    Lapped,
    Quantised,
    Scaled,
    Sparse,
    Spectral,
    Wavelet,
)


def _of_sparse(form: Sparse) -> Operand:
    order = strips_of(form)
    return SparseOperand(form) if order is None else StripsOperand(form, order)


RUN_FORMS: dict[type[Form], Callable[..., Operand]] = {
    Dense: lambda form: DenseOperand(form.values),
    Codebook: CodebookOperand,
    Sparse: _of_sparse,
    Quantised: QuantisedOperand,
    Scaled: lambda form: ScaledOperand(form, operand_of(form.values)),
    Hashed: HashedOperand,
    Common: lambda form: CommonOperand(form, operand_of(form.centres), operand_of(form.residual)),
    Spectral: lambda form: SpectralOperand(form, operand_of(form.coefficients)),
    Lapped: lambda form: ImagesOperand(form, operand_of(form.coefficients)),
    Wavelet: lambda form: ImagesOperand(form, operand_of(form.coefficients)),
    BitPlanes: PlanesOperand,
    Factored: lambda form: FactoredOperand(
        form,
        operand_of(form.rows),
        operand_of(form.core),
        None if form.columns is None else operand_of(form.columns),
    ),
}
"""Forms that have an operand of their own."""


def operand_of(form: Form) -> Operand:
    """The run form of a weight tensor; shares the form's arrays."""
    return RUN_FORMS.get(type(form), FormOperand)(form)
