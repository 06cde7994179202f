"""Hashing: weights share a few values, and a hash function says who shares with whom.

Two methods: over the weights as they are (HashedNets), and over the frequencies of
kernels with a budget for each band (FreshNets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.codec.second_order import forward_dct
from reticule.forms import Dense, Form, Hashed, Packed, Sparse, Spectral
from reticule.forms.hashed import band_sizes
from reticule.forms.spectral import LARGEST_KERNEL
from reticule.methods.base import Context, Outcome, method
from reticule.methods.hash.budgets import band_budgets, layer_budgets
from reticule.methods.hash.twins import places
from reticule.methods.prune.threshold import prunable
from reticule.methods.select import SMALLEST, select

Rate = Annotated[float, Field(gt=0, le=1)]
Exponent = Annotated[float, Field(gt=0, le=100)]
Start = Literal["scaled", "fit", "random"]


@method("hashing")
@dataclass(frozen=True)
class Hashing:
    """Let the weights of each layer share K = ``rate`` times as many values, by a hash.

    A weight is plus or minus one of the K values; two hashes of its position say which,
    and with what sign (:class:`~reticule.forms.Hashed`), so no index is stored.  That
    loses nearly all that the network knew: a ``retrain`` stage has to follow, in which
    the values are trained (a value's gradient is the signed sum over its weights).

    They start, by ``init``, from the least squares fit (``fit``): the signed mean of a
    bucket.  A mean of many has almost no spread left, so that ``scaled`` brings it back
    to that of the weights; ``random`` draws normal values of that spread.

    With a ``balance`` b below 1 small layers get more values and large ones fewer: all
    layers together have ``rate`` times as many as weights, divided as size^b.

    Weights that were pruned stay zero; the others share.  Biases are not hashed.

    Source: Chen, Wilson, Tyree, Weinberger, Chen, "Compressing Neural Networks with the
    Hashing Trick", ICML 2015.
    """

    rate: Rate = 1 / 16
    balance: Exponent = 1.0
    init: Start = "scaled"
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        forms: dict[str, Form] = {}
        budgets = _budgets(packed, names, self.rate, self.balance)
        for number, name in enumerate(names):
            rng = np.random.default_rng([context.seed, number])
            forms[name] = hashed(packed.forms[name], budgets[name], self.init, rng)
        return Outcome(packed.with_forms(forms), skipped, _notes(packed, forms))


@method("frequency-hashing")
@dataclass(frozen=True)
class FrequencyHashing:
    """Hash the frequencies of kernels, with more values for those that matter more.

    Each kernel (height h, width w) is transformed by the orthonormal two-dimensional
    DCT-II.  Coefficients of one frequency band j = y + x share values of their own, by
    the hashes of :class:`Hashing`.  Band j, with N_j coefficients, gets

        K_j = Z f(x_j) N_j,  f(x) = x^(alpha - 1) (1 - x)^(beta - 1),  x_j = (j + 1) / (h + w)

    values, 1 <= K_j <= N_j, Z such that they are ``rate`` times the layer's weights
    together, or what ``balance`` gives the layer (and at least one for each band).
    alpha = beta = 1 treats bands alike, alpha <= 1 < beta favours low frequencies, which
    hold most of a trained kernel.

    Linear layers, kernels of one tap and layers that were pruned are hashed as they are.

    Source: Chen, Wilson, Tyree, Weinberger, Chen, "Compressing Convolutional Neural
    Networks in the Frequency Domain", KDD 2016.
    """

    rate: Rate = 1 / 16
    alpha: Exponent = 0.25
    beta: Exponent = 2.5
    balance: Exponent = 1.0
    init: Start = "scaled"
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        forms: dict[str, Form] = {}
        budgets = _budgets(packed, names, self.rate, self.balance)
        for number, name in enumerate(names):
            rng = np.random.default_rng([context.seed, number])
            form = packed.forms[name]
            if has_bands(form):
                forms[name] = self._spectral(form.dense(), budgets[name], rng)
            else:
                forms[name] = hashed(form, budgets[name], self.init, rng)
        return Outcome(packed.with_forms(forms), skipped, _notes(packed, forms))

    def _spectral(self, kernels: np.ndarray, budget: int, rng: np.random.Generator) -> Spectral:
        sizes = band_sizes(kernels.shape)
        budgets = band_budgets(sizes, max(budget, len(sizes)), self.alpha, self.beta)
        return Spectral(shared(forward_dct(kernels).astype(np.float32), budgets, self.init, rng))


def has_bands(form: Form) -> bool:
    """Whether a form's kernels have more than one frequency, and are free to be transformed."""
    kernel = form.shape[-2:]
    fits = len(form.shape) == 4 and 1 < max(kernel) <= LARGEST_KERNEL
    return fits and isinstance(form, Dense)


def _budgets(packed: Packed, names: Sequence[str], rate: float, balance: float) -> dict[str, int]:
    """How many values each of these tensors gets, by the weights that it stores."""
    forms = [packed.forms[name] for name in names]
    stored = [form.columns.size if isinstance(form, Sparse) else form.size for form in forms]
    return dict(zip(names, layer_budgets(stored, rate, balance), strict=True))


def hashed(form: Form, budget: int, init: Start, rng: np.random.Generator) -> Form:
    """The form with its stored weights hashed to so many values."""
    if isinstance(form, Sparse):
        return replace(form, values=shared(form.values.dense(), (budget,), init, rng))
    return shared(form.dense(), (budget,), init, rng)


def shared(
    weights: np.ndarray, budgets: tuple[int, ...], init: Start, rng: np.random.Generator
) -> Hashed:
    """Hashed weights with a seed of ``rng``, starting as near to ``weights`` as ``init`` says."""
    seed = int(rng.integers(1 << 32))
    empty = Hashed(weights.shape, seed, budgets, Dense(np.zeros(sum(budgets), np.float32)))
    buckets, signs = (part.ravel() for part in places(empty))
    count = sum(budgets)
    members = np.bincount(buckets, minlength=count)
    flat = weights.ravel().astype(np.float64)
    values = np.bincount(buckets, signs * flat, count) / np.maximum(members, 1)
    if init != "fit":
        energy = np.bincount(buckets, flat**2, count)
        first = 0
        for budget in budgets:
            band = slice(first, first + budget)
            if init == "random":
                values[band] = rng.standard_normal(budget)
            values[band] = _with_energy(values[band], members[band], float(energy[band].sum()))
            first += budget
    return replace(empty, values=Dense(values.astype(np.float32)))


def _with_energy(values: np.ndarray, members: np.ndarray, energy: float) -> np.ndarray:
    """The values, scaled so that all weights together have this sum of squares."""
    now = float((members * values**2).sum())
    return values * (energy / now) ** 0.5 if now > 0 else values


def _notes(packed: Packed, forms: dict[str, Form]) -> dict[str, Any]:
    """How many weights share how many values."""
    weights = sum(packed.forms[name].size for name in forms)
    values = sum(values_of(form).shape[0] for form in forms.values())
    return {"weights": weights, "values": values}


def values_of(form: Form) -> Form:
    """The shared values of a hashed form, wherever it is nested."""
    while not isinstance(form, Hashed):
        if isinstance(form, Spectral):
            form = form.coefficients
        elif isinstance(form, Sparse):
            form = form.values
        else:
            raise TypeError(f"{form.name} is not hashed")
    return form.values
