"""How the factors of a layer of low rank are stored."""

from __future__ import annotations

from math import prod

from reticule.codec.arrays import Slot
from reticule.codec.limits import size_within
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Factored, Form
from reticule.forms.base import Shape

MAX_RANK = 1 << 16


class FactoredCodec:
    """The ranks; rows, core and columns are inner forms, in this order."""

    kind: type[Form] = Factored

    def write(self, form: Factored, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if slot.mask is not None:
            raise ModelError("the values of a sparse form have no rows and columns to factor")
        rank = form.rows.shape[1]
        second = None if form.columns is None else form.columns.shape[1]
        if max(rank, second or 0) > MAX_RANK:
            raise ModelError(f"a rank of {max(rank, second or 0)}; {MAX_RANK} is possible")
        out.structure.varint(rank)
        out.structure.varint(0 if second is None else 1 + second)
        shapes = _factors(form.shape, rank, second)
        return [(f, Slot.of(shape)) for f, shape in zip(form.factors, shapes, strict=True)]

    def read(self, slot: Slot, source: Reader) -> Part:
        if slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "factors under a mask")
        if len(slot.shape) < 2:
            raise source.fail(Fault.UNKNOWN_FORM, f"factors of the shape {slot.shape}")
        rank, coded = source.structure.varint(), source.structure.varint()
        second = coded - 1 if coded else None
        if max(rank, second or 0) > MAX_RANK:
            raise source.fail(Fault.TOO_LARGE, f"a rank of {max(rank, second or 0)}")
        shapes = _factors(slot.shape, rank, second)
        # Inner forms need not have as many numbers as they stand for, so these count apart;
        # and so does what core and columns come to when weights are restored.
        work = 0 if second is None else rank * prod(slot.shape[1:])
        room = sum(size_within(shape, source.budget.limits, source.where) for shape in shapes)
        source.budget.spend(work + room, source.where)

        def build(forms: list[Form]) -> Form:
            try:
                return Factored(*forms)
            except ValueError as problem:
                raise source.fail(Fault.BAD_VALUE, str(problem)) from None

        return Part(build, [Slot.of(shape) for shape in shapes])


def _factors(shape: Shape, rank: int, second: int | None) -> list[Shape]:
    """Shapes of rows, core and, if they have a rank, columns."""
    outputs, inputs, *kernel = shape
    if second is None:
        return [(outputs, rank), (rank, inputs, *kernel)]
    return [(outputs, rank), (rank, second, *kernel), (inputs, second)]
