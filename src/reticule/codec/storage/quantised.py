"""How weights on a grid are stored, with and without a trellis."""

from __future__ import annotations

import numpy as np

from reticule import _native
from reticule.codec.arrays import Kind, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Form, Quantised
from reticule.forms.quantised import LARGEST_LEVEL, TRELLIS_STATES


class QuantisedCodec:
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
