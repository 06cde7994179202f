"""How weights with a scale for each output channel are stored."""

from __future__ import annotations

from reticule.codec.arrays import Role, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Form, Scaled


class ScaledCodec:
    """Nothing of its own: values and scales are inner forms, in this order."""

    kind: type[Form] = Scaled

    def write(self, form: Scaled, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if slot.mask is not None:
            raise ModelError("the values of a sparse form have no rows to scale")
        return [(form.values, slot), (form.scales, _scales(slot))]

    def read(self, slot: Slot, source: Reader) -> Part:
        if slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "scales of rows under a mask")
        if not slot.shape:
            raise source.fail(Fault.UNKNOWN_FORM, "scales of a tensor without rows")

        def build(forms: list[Form]) -> Form:
            values, scales = forms
            try:
                return Scaled(values, scales)
            except ValueError as problem:
                raise source.fail(Fault.BAD_VALUE, str(problem)) from None

        return Part(build, [slot, _scales(slot)])


def _scales(slot: Slot) -> Slot:
    return Slot.of(slot.shape[:1], Role.CODEBOOK)
