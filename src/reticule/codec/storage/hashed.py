"""How weights that share values by a hash are stored."""

from __future__ import annotations

import numpy as np

from reticule.codec.arrays import Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault
from reticule.forms import Form, Hashed
from reticule.forms.hashed import misfit
from reticule.forms.spectral import LARGEST_KERNEL

_SEED = 4
_MOST_BUDGETS = 2 * LARGEST_KERNEL - 1


class HashedCodec:
    """The seed, and the number of values of each band; the values are an inner form.

    Under a mask positions are counted over the stored weights alone.
    """

    kind: type[Form] = Hashed

    def write(self, form: Hashed, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        out.structure.raw(form.seed.to_bytes(_SEED, "little"))
        out.structure.varint(len(form.budgets))
        for budget in form.budgets:
            out.structure.varint(budget)
        return [(form.values, Slot.of(form.values.shape))]

    def read(self, slot: Slot, source: Reader) -> Part:
        structure = source.structure
        seed = int.from_bytes(bytes(structure.raw(_SEED)), "little")
        count = structure.varint()
        if not 1 <= count <= _MOST_BUDGETS:
            raise source.fail(Fault.BAD_INDEX, f"{count} budgets of a hash")
        budgets = tuple(structure.varint() for _ in range(count))
        if slot.mask is None:
            fault = misfit(slot.shape, budgets)
        else:  # how many weights it leaves is known when it has been decoded
            fits = count == 1 and budgets[0] <= slot.layout.size
            fault = "" if fits else f"budgets of {sum(budgets)} under a mask"
        if fault:
            raise source.fail(Fault.BAD_INDEX, fault)

        def build(forms: list[Form]) -> Form:
            shape = slot.shape
            if slot.mask is not None:
                shape = (int(np.count_nonzero(slot.mask.data)),)
            try:
                return Hashed(shape, seed, budgets, forms[0])
            except ValueError as problem:
                raise source.fail(Fault.BAD_INDEX, str(problem)) from None

        return Part(build, [Slot.of((sum(budgets),))])
