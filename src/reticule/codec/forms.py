"""Forms into structure and arrays, and back: one entry of ``REGISTRY`` for each form.

A tensor is a sequence of parts in prefix order: a form comes before the forms inside it
and says where they sit.  Parts are read into a list and built from its end, so neither
direction recurses.  Building waits until the arrays have been decoded.

To add a form, write a :class:`FormCodec` for it and add it to ``REGISTRY``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from reticule import _native
from reticule.codec.arrays import Array, Kind, Slot
from reticule.codec.bits import ByteReader
from reticule.codec.limits import Budget, Limits, size_within
from reticule.codec.parts import FormCodec, Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Codebook, Dense, Form, Quantised, Sparse, Spectral
from reticule.forms.base import Shape
from reticule.forms.quantised import LARGEST_LEVEL, TRELLIS_STATES

MAX_CENTROIDS = 1 << 16
_DEFAULT = Limits()


@dataclass(frozen=True)
class _Dense:
    """Bit patterns of float32 or float16 numbers."""

    dtype: str
    kind: type[Form] = Dense

    def write(self, form: Dense, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if not np.isfinite(form.values).all():
            raise ModelError("weights are NaN or infinite; repair or retrain the network first")
        flat = np.ascontiguousarray(form.values).reshape(-1)
        out.array(slot, Kind.FLOATS, flat.view(self._patterns))
        return []

    def read(self, slot: Slot, source: Reader) -> Part:
        array = source.array(slot, Kind.FLOATS, self._patterns)

        def build(_: list[Form]) -> Form:
            values = slot.take(array.data).view(self.dtype)
            if not np.isfinite(values).all():
                raise source.fail(Fault.BAD_VALUE)
            return Dense(values)

        return Part(build)

    @property
    def _patterns(self) -> str:
        return self.dtype.replace("f", "u")


class _Codebook:
    """Indices as ranks: centroids in rising order, counted from zero.

    So a coder sees small integers for small weights.  The form keeps its own order.
    """

    kind: type[Form] = Codebook

    def write(self, form: Codebook, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        k = form.centroids.shape[0]
        if k > MAX_CENTROIDS:
            raise ModelError(f"{k} centroids; {MAX_CENTROIDS} are possible")
        out.structure.varint(k)
        ranks = _ranks(form.centroids.dense())
        values = ranks[form.indices] if k else np.zeros(form.indices.shape, np.int32)
        out.array(slot, Kind.INTEGERS, values, k)
        return [(form.centroids, Slot.of((k,)))]

    def read(self, slot: Slot, source: Reader) -> Part:
        k = source.structure.varint()
        if k > MAX_CENTROIDS:
            raise source.fail(Fault.TOO_LARGE, f"{k} centroids")
        array = source.array(slot, Kind.INTEGERS, "i4", k)
        inner = Slot.of((k,))

        def build(forms: list[Form]) -> Form:
            ranks = _ranks(forms[0].dense())
            index_of = np.full(2 * k + 1, k, np.int32)  # k: no centroid has this rank
            index_of[ranks + k] = np.arange(k)
            indices = index_of[slot.take(array.data) + k]
            if int(indices.max(initial=-1)) >= k:
                raise source.fail(Fault.BAD_INDEX, "a rank without a centroid")
            return Codebook(indices, forms[0])

        return Part(build, [inner])


def _ranks(centroids: np.ndarray) -> np.ndarray:
    """The rank of each centroid: 0 for the first zero, 1, 2, ... upwards, -1, -2, ... down.

    Equal centroids are ranked in the order of the table.

    >>> _ranks(np.array([0.5, -1.0, 0.25, -2.0], "f4")).tolist()
    [2, -1, 1, -2]
    >>> _ranks(np.array([0.5, 0.0, -1.0], "f4")).tolist()
    [1, 0, -1]
    """
    order = np.argsort(centroids, kind="stable")
    negative = int(np.count_nonzero(centroids < 0))
    places = np.arange(centroids.size, dtype=np.int32) - negative
    if not (centroids == 0).any():
        places[negative:] += 1
    ranks = np.empty(centroids.size, np.int32)
    ranks[order] = places
    return ranks


class _Sparse:
    """A mask; the values sit under it."""

    kind: type[Form] = Sparse

    def write(self, form: Sparse, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        mask = out.array(slot, Kind.MASK, form.mask().astype(np.uint8), 1)
        return [(form.values, slot.under(mask))]

    def read(self, slot: Slot, source: Reader) -> Part:
        mask = source.array(slot, Kind.MASK, "u1", 1)
        # Row pointers: an empty tensor may have many rows.
        source.budget.spend(slot.layout.rows if slot.mask is None else 1, source.where)

        def build(forms: list[Form]) -> Form:
            return Sparse.at(slot.take(mask.data).view(bool), forms[0])

        return Part(build, [slot.under(mask)])


class _Quantised:
    """A byte for trellis and step, the step as a bfloat16 if it is one, levels or indices.

    An index is half a level, so that indices have half the range.
    """

    kind: type[Form] = Quantised

    def write(self, form: Quantised, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        step = np.array(form.step, "<f4").tobytes()
        short = step[:2] == b"\0\0"
        out.structure.raw(bytes([TRELLIS_STATES.index(form.states) | 8 * (not short)]))
        out.structure.raw(step[2:] if short else step)
        values = form.levels.astype(np.int32).reshape(-1)
        if form.states:
            if slot.mask is not None:
                raise ModelError("trellis-coded levels cannot be the values of a sparse form")
            levels, values = values, np.empty_like(values)
            try:
                _native.trellis_indices(levels, slot.layout.columns, form.states, values)
            except ValueError as problem:
                raise ModelError(f"its levels do not follow the trellis: {problem}") from None
        out.array(slot, Kind.INTEGERS, values, LARGEST_LEVEL, form.states)
        return []

    def read(self, slot: Slot, source: Reader) -> Part:
        structure = source.structure
        head = structure.byte()
        if head & 0xF0 or head & 7 >= len(TRELLIS_STATES):
            raise source.fail(Fault.UNKNOWN_FORM, f"a quantiser of kind {head}")
        states = TRELLIS_STATES[head & 7]
        if states and slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "a trellis under a mask")
        short = b"" if head & 8 else b"\0\0"
        step = float(np.frombuffer(short + bytes(structure.raw(4 if head & 8 else 2)), "<f4")[0])
        if not (np.isfinite(step) and step > 0):
            raise source.fail(Fault.BAD_VALUE, f"a step of {step}")
        largest = LARGEST_LEVEL // 2 if states else LARGEST_LEVEL
        array = source.array(slot, Kind.INTEGERS, "i4", largest, states)

        def build(_: list[Form]) -> Form:
            try:
                return Quantised(slot.take(array.data), step, states)
            except ValueError as problem:
                raise source.fail(Fault.BAD_VALUE, str(problem)) from None

        return Part(build)


class _Spectral:
    """Nothing of its own: the coefficients sit where the weights would."""

    kind: type[Form] = Spectral

    def write(self, form: Spectral, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if slot.mask is not None:
            raise ModelError("the values of a sparse form have no kernels to transform")
        if not _bounded(form):
            raise ModelError("its coefficients are so large that weights may be infinite")
        return [(form.coefficients, slot)]

    def read(self, slot: Slot, source: Reader) -> Part:
        def build(forms: list[Form]) -> Form:
            try:
                form = Spectral(forms[0])
            except ValueError as problem:
                raise source.fail(Fault.UNKNOWN_FORM, str(problem)) from None
            if not _bounded(form):
                raise source.fail(Fault.BAD_VALUE, "its coefficients are too large")
            return form

        if slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "a transform under a mask")
        return Part(build, [slot])


def _bounded(form: Spectral) -> bool:
    """Whether every sum over a kernel is finite: the basis has no entry above one."""
    values = form.coefficients.dense()
    largest = float(max(values.max(initial=0), -values.min(initial=0)))
    return largest * prod(form.shape[-2:]) <= float(np.finfo(np.float32).max)


REGISTRY: dict[int, FormCodec] = {
    0: _Dense("<f4"),
    1: _Dense("<f2"),
    2: _Codebook(),
    3: _Sparse(),
    4: _Quantised(),
    5: _Spectral(),
}


def _tag_of(form: Form) -> int:
    if isinstance(form, Dense):
        return 0 if form.values.dtype == np.float32 else 1
    for tag, entry in REGISTRY.items():
        if type(form) is entry.kind:
            return tag
    raise ModelError(f"the form '{form.name}' cannot be stored in a .ret file")


def write_form(form: Form, out: Writer) -> None:
    """Append a tensor: rank and first tag in one integer, its axes, and its parts."""
    if len(form.shape) > _DEFAULT.rank:
        raise ModelError(f"shape {form.shape} has rank {len(form.shape)}")
    out.structure.varint(len(form.shape) + 16 * _tag_of(form))
    for axis in form.shape:
        out.structure.varint(axis)
    waiting = [(form, Slot.of(form.shape))]
    parts = 0
    while waiting:
        part, slot = waiting.pop()
        tag = _tag_of(part)
        parts += 1
        if parts > _DEFAULT.form_parts:
            raise ModelError(f"more than {_DEFAULT.form_parts} nested forms")
        if part is not form:
            out.structure.varint(tag)
        waiting.extend(reversed(REGISTRY[tag].write(part, slot, out)))


@dataclass(frozen=True)
class Pending:
    """A tensor whose structure has been read: its shape, its arrays, and how to build it."""

    shape: Shape
    arrays: list[Array]
    parts: list[Part]

    def build(self) -> Form:
        """The form; its arrays must have been filled."""
        stack: list[Form] = []
        for part in reversed(self.parts):
            inner = [stack.pop() for _ in part.inner]
            stack.append(part.build(inner))
        return stack[0]


def read_form(structure: ByteReader, budget: Budget) -> Pending:
    """Inverse of :func:`write_form`, up to the contents of the arrays."""
    tag, rank = divmod(structure.varint(), 16)
    if rank > budget.limits.rank:
        raise structure.fail(Fault.TOO_LARGE, f"rank {rank}")
    shape = tuple(structure.varint() for _ in range(rank))
    size_within(shape, budget.limits, structure.where)
    source = Reader(structure, budget, structure.where)
    parts: list[Part] = []
    waiting = [Slot.of(shape)]
    while waiting:
        slot = waiting.pop()
        if len(parts) == budget.limits.form_parts:
            raise source.fail(Fault.TOO_LARGE, f"more than {len(parts)} nested forms")
        if parts:
            tag = structure.varint()
        if tag not in REGISTRY:
            raise source.fail(Fault.UNKNOWN_FORM, f"tag {tag}")
        budget.spend(Budget.FORM, source.where)
        parts.append(REGISTRY[tag].read(slot, source))
        waiting.extend(reversed(parts[-1].inner))
    return Pending(shape, source.arrays, parts)
