"""Lossless packing: the form in which each tensor takes the fewest bytes, weights untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from reticule.codec.section import write_section
from reticule.forms import Codebook, Dense, Form, Packed, Quantised, Sparse
from reticule.forms.quantised import LARGEST_LEVEL
from reticule.methods.base import Context, Outcome, method

_MOST_CENTROIDS = 1 << 12
_MOST_LEVELS = 1 << 15
_SPARSE_FROM = 0.3  # share of zeros that is worth a mask


@method("lossless")
@dataclass(frozen=True)
class Lossless:
    """Give every dense tensor the form that codes it in the fewest bytes, bit for bit.

    Trained float32 weights have little to give: the exponents, whose distribution is
    narrow (ZipNN, Hershcovitch et al. 2024, says the same).  But many networks are not
    what they seem: weights that were float16 once, that were pruned, that share a few
    values, or that lie on a grid.  Each of those is tried where it restores the tensor
    exactly, signs of zeros included, and coded to compare.

    Tensors in other forms are left as they are.
    """

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        forms, skipped, kinds = {}, {}, {}
        for name, form in packed.forms.items():
            if not isinstance(form, Dense):
                skipped[name] = f"in the form {form.name}"
                continue
            forms[name] = smallest(form)
            kinds[name] = forms[name].name
        return Outcome(packed.with_forms(forms), skipped, {"forms": kinds})


def smallest(form: Dense) -> Form:
    """The same weights in the form that takes the fewest bytes.

    >>> smallest(Dense(np.arange(-500, 501, dtype="f4") * 0.002)).name
    'quantised'
    """
    exact = Dense(form.values.astype(np.float32))
    best: Form = exact
    least = _cost(exact)
    for candidate in _candidates(exact.values):
        cost = _cost(candidate)
        if cost < least and _bits(candidate.dense()) == _bits(exact.values):
            best, least = candidate, cost
    return best


def _bits(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def _cost(form: Form) -> float:
    """About the bytes that a form takes in a file; a hundredth of those in memory breaks ties.

    The preset ``fast`` ranks forms as ``small`` does, in less time.
    """
    written = write_section({"weights": form}, "fast")
    return len(written.head) + len(written.chunks) + form.bits / 800


def _candidates(values: np.ndarray) -> Iterator[Form]:
    """Forms that may restore the values exactly; who uses them must check."""
    yield from _plain(values)
    stored = values.view(np.uint32) != 0  # a negative zero is not nothing
    if values.size and np.count_nonzero(stored) < (1 - _SPARSE_FROM) * values.size:
        for inner in [Dense(values[stored]), *_plain(values[stored])]:
            yield Sparse.at(stored, inner)


def _plain(values: np.ndarray) -> Iterator[Form]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if np.isfinite(half).all():
        yield Dense(half)
    patterns, indices = np.unique(np.ascontiguousarray(values).view(np.uint32), return_inverse=True)
    if patterns.size <= min(_MOST_CENTROIDS, values.size // 2):
        table = Dense(patterns.view(np.float32))
        yield Codebook(indices.reshape(values.shape), table)
    if (step := _step(patterns.view(np.float32))) is not None:
        levels = np.rint(values.astype(np.float64) / step).astype(np.int64)
        yield Quantised(levels, step)


@np.errstate(over="ignore")
def _step(values: np.ndarray) -> float | None:
    """The step of which all these values are multiples, rounded to float32, if there is one.

    It is near the smallest gap between any two magnitudes.
    """
    magnitudes = np.unique(np.abs(values))
    gaps = np.diff(magnitudes, prepend=np.float32(0))
    gaps = gaps[gaps > 0]
    largest = float(magnitudes[-1]) if gaps.size else 0.0
    if not gaps.size or largest > min(LARGEST_LEVEL, _MOST_LEVELS) * float(gaps.min()):
        return None
    # A gap is a difference of two rounded products; the largest value is far more exact.
    step = np.float32(largest / np.rint(largest / float(gaps.min())))
    for toward in (step, np.float32(0), np.float32(np.inf)):
        near = np.nextafter(step, toward)
        if not 0 < near < np.inf:
            continue
        levels = np.rint(magnitudes.astype(np.float64) / float(near))
        if np.array_equal((levels * float(near)).astype(np.float32), magnitudes):
            return float(near)
    return None
