"""How kernels as frequencies are stored."""

from __future__ import annotations

from math import prod

import numpy as np

from reticule.codec.arrays import Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Form, Spectral


class SpectralCodec:
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
