"""Lossless packing: the form in which each tensor takes the fewest bytes, weights untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from reticule.codec.parallel import in_order
from reticule.codec.section import write_section
from reticule.forms import Codebook, Dense, Form, Packed, Quantised, Sparse
from reticule.forms.quantised import LARGEST_LEVEL
from reticule.methods.base import Context, Outcome, method

_MOST_CENTROIDS = 1 << 12
_MOST_LEVELS = 1 << 15
_SPARSE_FROM = 0.3  # share of zeros that is worth a mask
_PROBED = 1 << 18  # weights that are looked at together


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
        dense = {n: form for n, form in packed.forms.items() if isinstance(form, Dense)}
        skipped = {n: f"in the form {f.name}" for n, f in packed.forms.items() if n not in dense}
        forms = dict(zip(dense, in_order(smallest, dense.values()), strict=True))
        kinds = {name: form.name for name, form in forms.items()}
        return Outcome(packed.with_forms(forms), skipped, {"forms": kinds})


def smallest(form: Dense) -> Form:
    """The same weights in the form that takes the fewest bytes.

    >>> smallest(Dense(np.arange(-500, 501, dtype="f4") * 0.002)).name
    'quantised'
    """
    exact = Dense(form.values.astype(np.float32, copy=False))
    # What does not restore the weights is found out before anything is coded, and there is
    # nothing to compare where no other form does: most trained weights are no more than floats.
    best: Form = exact
    least: float | None = None
    for candidate in _candidates(exact.values):
        if not _equal(candidate.dense(), exact.values):
            continue
        least = _cost(exact) if least is None else least
        cost = _cost(candidate)
        if cost < least:
            best, least = candidate, cost
    return best


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether all bits are, those of zeros included."""
    return a.shape == b.shape and np.array_equal(_patterns(a), _patterns(b))


def _patterns(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint32).reshape(values.shape)


def _cost(form: Form) -> float:
    """About the bytes that a form takes in a file; a hundredth of those in memory breaks ties.

    The preset ``fast`` ranks forms as ``small`` does, in less time.
    """
    written = write_section({"weights": form}, "fast")
    return written.size + form.bits / 800


def _candidates(values: np.ndarray) -> Iterator[Form]:
    """Forms that may restore the values exactly; who uses them must check."""
    yield from _plain(values)
    count = np.count_nonzero(_patterns(values))  # a negative zero is not nothing
    if values.size and count < (1 - _SPARSE_FROM) * values.size:
        stored = _patterns(values) != 0
        for inner in [Dense(values[stored]), *_plain(values[stored])]:
            yield Sparse.at(stored, inner)


def _plain(values: np.ndarray) -> Iterator[Form]:
    with np.errstate(over="ignore"):
        first = values.reshape(-1)[:_PROBED]
        if _equal(first.astype(np.float16).astype(np.float32), first):
            half = values.astype(np.float16)
            if np.isfinite(half).all():
                yield Dense(half)
    patterns = distinct(_patterns(values), 2 * _MOST_LEVELS + 2)
    if patterns is None:
        return
    if patterns.size <= min(_MOST_CENTROIDS, values.size // 2):
        indices = _mapped(_patterns(values), "u2", partial(_places, patterns))
        yield Codebook(indices, Dense(patterns.view(np.float32)))
    if (step := _step(patterns.view(np.float32))) is not None:
        levels = _mapped(values, "i4", partial(_rounded, step))
        yield Quantised(levels, step)


def distinct(values: np.ndarray, most: int) -> np.ndarray | None:
    """The different values, ascending; None if there are more than ``most``.

    Most arrays have too many, which their first part tells.

    >>> distinct(np.array([7, 1, 7], np.uint32), 2), distinct(np.arange(9), 8) is None
    (array([1, 7], dtype=uint32), True)
    """
    flat = values.reshape(-1)
    found = flat[:0]
    for first in range(0, flat.size, _PROBED):
        found = np.union1d(found, flat[first : first + _PROBED])
        if found.size > most:
            return None
    return found


def _places(patterns: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.searchsorted(patterns, values)


def _rounded(step: float, values: np.ndarray) -> np.ndarray:
    return np.rint(values.astype(np.float64) / step)


def _mapped(
    values: np.ndarray, dtype: str, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """What the function makes of values, some of them at a time: it may need room."""
    out = np.empty(values.size, dtype)
    flat = values.reshape(-1)
    for first in range(0, flat.size, _PROBED):
        at = slice(first, first + _PROBED)
        out[at] = function(flat[at])
    return out.reshape(values.shape)


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
