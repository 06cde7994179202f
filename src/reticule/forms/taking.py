"""Rows and columns of forms: taken out, or put in another order, without restoring weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reticule.forms.base import Form
from reticule.forms.codebook import Codebook
from reticule.forms.dense import Dense
from reticule.forms.factored import Factored
from reticule.forms.packed import Packed
from reticule.forms.quantised import Quantised
from reticule.forms.scaled import Scaled
from reticule.forms.sparse import Sparse
from reticule.forms.spectral import Spectral
from reticule.graph.channels import Channels, Surgery, trace


def rigid(form: Form) -> str:
    """Why rows and columns of a form cannot be taken out, or the empty string.

    Hashes, trellises and transforms across kernels depend on where a weight is.
    """
    if isinstance(form, Dense | Codebook) or (isinstance(form, Quantised) and not form.states):
        return ""
    if isinstance(form, Factored):
        return f"in the form {form.name}" if any(map(rigid, form.factors)) else ""
    inner = None
    if isinstance(form, Sparse | Scaled):
        inner = form.values
    elif isinstance(form, Spectral):
        inner = form.coefficients
    return f"in the form {form.name}" if inner is None or rigid(inner) else ""


def taken(form: Form, index: np.ndarray, axis: int) -> Form:
    """The form of ``form.dense().take(index, axis)``; axis 0 or 1, ValueError where it is rigid.

    >>> form = Sparse.keep(np.array([[0, 3], [4, 5]], "f4"), np.array([[0, 1], [1, 1]]))
    >>> taken(form, np.array([1, 0]), 0).dense().tolist()
    [[4.0, 5.0], [0.0, 3.0]]
    """
    if reason := rigid(form):
        raise ValueError(f"rows and columns cannot be taken of a tensor {reason}")
    if isinstance(form, Dense):
        return Dense(form.values.take(index, axis))
    if isinstance(form, Codebook):
        return replace(form, indices=form.indices.take(index, axis))
    if isinstance(form, Quantised):
        return replace(form, levels=form.levels.take(index, axis))
    if isinstance(form, Spectral):
        return Spectral(taken(form.coefficients, index, axis))
    if isinstance(form, Scaled):
        scales = taken(form.scales, index, 0) if axis == 0 else form.scales
        return Scaled(taken(form.values, index, axis), scales)
    if isinstance(form, Factored):
        return _of_factors(form, index, axis)
    assert isinstance(form, Sparse)
    order = np.full(form.size, -1)
    order[form.positions()] = np.arange(form.columns.size)
    order = order.reshape(form.shape).take(index, axis)
    return Sparse.at(order >= 0, taken(form.values, order[order >= 0], 0))


def _of_factors(form: Factored, index: np.ndarray, axis: int) -> Factored:
    """Rows of the factor whose rows the axis has; the ranks stay."""
    if axis == 0:
        return replace(form, rows=taken(form.rows, index, 0))
    if form.columns is None:
        return replace(form, core=taken(form.core, index, 1))
    return replace(form, columns=taken(form.columns, index, 0))


def channels_of(packed: Packed) -> Channels:
    """The units of a packed network; those of rigid tensors are fixed."""
    reasons = {name: rigid(form) for name, form in packed.forms.items()}
    return trace(
        packed.graph,
        {name: f"tensor '{name}' is {reason}" for name, reason in reasons.items() if reason},
    )


def operated(packed: Packed, surgery: Surgery) -> Packed:
    """The packed network after units went or changed places."""
    forms, hints = dict(packed.forms), dict(packed.hints)
    for (name, axis), index in surgery.kept.items():
        if not np.array_equal(index, np.arange(forms[name].shape[axis])):
            forms[name] = taken(forms[name], index, axis)
            if name in hints:
                hints[name] = hints[name].taken(index, axis)
    return Packed(surgery.graph, forms, hints)
