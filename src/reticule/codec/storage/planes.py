"""How bit planes that were cut off are stored."""

from __future__ import annotations

from math import prod

import numpy as np

from reticule.codec.arrays import Kind, Role, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import BitPlanes, Form
from reticule.forms.planes import LARGEST_MAGNITUDE, MOST_PLANES, blocks_of

_LONG = 64  # the step takes four bytes


class PlanesCodec:
    """A byte for the size of code blocks and of the step, the step, planes of blocks, levels.

    The adaptive coder codes a level as zero or not, sign, and rungs of its magnitude, in the
    context of its neighbours; so a block that lacks planes takes as many bits less.
    """

    kind: type[Form] = BitPlanes

    def write(self, form: BitPlanes, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if slot.mask is not None:
            raise ModelError("bit planes cannot be the values of a sparse form")
        step = np.array(form.step, "<f4").tobytes()
        short = step[:2] == b"\0\0"
        out.structure.raw(bytes([form.block - 1 | _LONG * (not short)]))
        out.structure.raw(step[2:] if short else step)
        blocks = Slot.of((form.planes.size,), Role.INDEX)
        out.array(blocks, Kind.INTEGERS, form.planes.astype(np.int32), MOST_PLANES)
        out.array(slot, Kind.INTEGERS, form.levels.astype(np.int32), LARGEST_MAGNITUDE)
        return []

    def read(self, slot: Slot, source: Reader) -> Part:
        structure = source.structure
        head = structure.byte()
        if head >= 2 * _LONG:
            raise source.fail(Fault.UNKNOWN_FORM, f"bit planes of kind {head}")
        if slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "bit planes under a mask")
        block = head % _LONG + 1
        short = b"" if head & _LONG else b"\0\0"
        step = float(np.frombuffer(short + bytes(structure.raw(4 - len(short))), "<f4")[0])
        if not (np.isfinite(step) and step > 0):
            raise source.fail(Fault.BAD_VALUE, f"a step of {step}")
        shape = blocks_of(slot.shape, block)
        blocks = Slot.of((prod(shape),), Role.INDEX)
        planes = source.array(blocks, Kind.INTEGERS, "i4", MOST_PLANES)
        levels = source.array(slot, Kind.INTEGERS, "i4", LARGEST_MAGNITUDE)

        def build(_: list[Form]) -> Form:
            try:
                return BitPlanes(slot.take(levels.data), planes.data.reshape(shape), step, block)
            except ValueError as problem:
                raise source.fail(Fault.BAD_VALUE, str(problem)) from None

        return Part(build)
