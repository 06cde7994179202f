"""How the weights that are left of a pruned layer are stored."""

from __future__ import annotations

import numpy as np

from reticule.codec.arrays import Kind, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.forms import Form, Sparse


class SparseCodec:
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
