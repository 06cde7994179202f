"""Coefficients: a tensor as a method of this package sees it, and the form it goes back to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

import reticule.tuning.spectral  # noqa: F401  its twin registers itself
from reticule.codec.second_order import forward_dct
from reticule.forms import Dense, Form, Packed, Sparse, Spectral
from reticule.forms.spectral import LARGEST_KERNEL
from reticule.methods.base import Context
from reticule.methods.prune.automatic import BISECTION_IMAGES, BISECTIONS
from reticule.methods.prune.threshold import prunable
from reticule.tuning.problem import evenly
from reticule.tuning.spectral import SpectralTwin
from reticule.tuning.twins import Twin

Transform = Literal["dct", "none"]


@dataclass(frozen=True)
class Coefficients:
    """Coefficients (float32) in the tensor's shape; those not ``allowed`` are zero for good.

    ``spectral`` says that the last two axes are frequencies, else they are the weights.
    """

    values: np.ndarray
    allowed: np.ndarray
    spectral: bool

    @classmethod
    def of(cls, form: Form, transform: Transform) -> Coefficients:
        """Those of a form that :func:`transformable` accepts.

        Kernels of a convolution are transformed, unless they are of one tap, too large, or
        pruned: their zeros would be lost.  Linear layers have no order of columns.
        """
        if isinstance(form, Spectral):
            inner = form.coefficients
            return cls(inner.dense(), _allowed(inner), True)
        kernels = len(form.shape) == 4 and 1 < max(form.shape[-2:]) <= LARGEST_KERNEL
        if transform == "dct" and kernels and min(form.shape[-2:]) and isinstance(form, Dense):
            values = forward_dct(form.dense()).astype(np.float32)
            return cls(values, np.ones(form.shape, bool), True)
        return cls(form.dense(), _allowed(form), False)

    def form(self, inner: Form) -> Form:
        """The tensor whose coefficients are in this form."""
        return Spectral(inner) if self.spectral else inner

    def twin(self, inner: Twin) -> Twin:
        """The tensor whose coefficients this twin trains."""
        if not self.spectral:
            return inner
        return SpectralTwin(Spectral(Dense(self.values)), inner)

    @property
    def scale(self) -> float:
        """Root mean square of the coefficients that are not zero; 1 if there are none."""
        squares = np.square(self.values.astype(np.float64))
        return float(squares.sum() / max(np.count_nonzero(squares), 1)) ** 0.5 or 1.0


def transformable(form: Form) -> str:
    """Why a form has no free coefficients, or the empty string."""
    return prunable(form.coefficients if isinstance(form, Spectral) else form)


def cheapest(
    packed: Packed,
    parts: Mapping[str, Coefficients],
    context: Context,
    cut: Callable[[float], Mapping[str, np.ndarray]],
    *,
    points: float,
    good: float,
    bad: float,
) -> float:
    """How far coefficients can be cut for at most ``points`` points, without any training.

    ``cut(amount)`` gives masks; the amount is between ``good``, which is taken for harmless,
    and ``bad``.  Found by bisection on a logarithmic scale, on training images: nothing has
    been trained yet, so these are as good as any.
    """
    sample = evenly(context.data.train, BISECTION_IMAGES)

    def accurate(candidate: Packed) -> float:
        return context.data.score(candidate, sample)

    least = accurate(packed) - points
    inside, outside = math.log(good), math.log(bad)
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        masks = cut(math.exp(middle))
        forms = {n: part.form(Dense(part.values * masks[n])) for n, part in parts.items()}
        if accurate(packed.with_forms(forms)) >= least:
            inside = middle
        else:
            outside = middle
    return math.exp(inside)


def density_of(forms: Mapping[str, Form]) -> float:
    """Share of the coefficients that are not zero."""
    kept = sum(form.nonzero for form in forms.values())
    return kept / max(sum(form.size for form in forms.values()), 1)


def _allowed(form: Form) -> np.ndarray:
    return form.mask() if isinstance(form, Sparse) else np.ones(form.shape, bool)
