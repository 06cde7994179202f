"""How kernels with a common part and one of their own are stored."""

from __future__ import annotations

from math import prod

import numpy as np

from reticule.codec.arrays import Kind, Role, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Common, Form


class CommonCodec:
    """The number of centres, and the label of each kernel; centres and residual are inner forms."""

    kind: type[Form] = Common

    def write(self, form: Common, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if slot.mask is not None:
            raise ModelError("the values of a sparse form have no kernels with common parts")
        if not _bounded(form.centres, form.residual):
            raise ModelError("its parts are so large that their sum may be infinite")
        count = form.centres.shape[0]
        out.structure.varint(count)
        labels = Slot.of(form.labels.shape, Role.INDEX)
        out.array(labels, Kind.INTEGERS, form.labels.astype(np.int32), max(count - 1, 0))
        centres = Slot.of(form.centres.shape, Role.CODEBOOK)
        return [(form.centres, centres), (form.residual, slot)]

    def read(self, slot: Slot, source: Reader) -> Part:
        if slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "common parts under a mask")
        if len(slot.shape) < 4:
            raise source.fail(Fault.UNKNOWN_FORM, f"shape {slot.shape} has no kernels")
        kernels = slot.shape[:-2]
        count = source.structure.varint()
        if not min(prod(kernels), 1) <= count <= prod(kernels):
            raise source.fail(Fault.BAD_INDEX, f"{count} centres for {prod(kernels)} kernels")
        place = Slot.of(kernels, Role.INDEX)
        array = source.array(place, Kind.INTEGERS, "i4", max(count - 1, 0))

        def build(forms: list[Form]) -> Form:
            centres, residual = forms
            if not _bounded(centres, residual):
                raise source.fail(Fault.BAD_VALUE, "its parts are too large")
            try:
                return Common(place.take(array.data), centres, residual)
            except ValueError as problem:
                raise source.fail(Fault.BAD_INDEX, str(problem)) from None

        return Part(build, [Slot.of((count, *slot.shape[-2:]), Role.CODEBOOK), slot])


def _bounded(*parts: Form) -> bool:
    """Whether the largest numbers of all parts together are finite."""
    largest = 0.0
    for part in parts:
        values = part.dense()
        largest += float(max(values.max(initial=0), -values.min(initial=0)))
    return largest <= float(np.finfo(np.float32).max)
