"""How a pruned layer is stored whose weights went by the block."""

from __future__ import annotations

from math import prod

import numpy as np

from reticule.codec.arrays import Array, Blocks, Kind, Role, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault
from reticule.forms import Form, Sparse
from reticule.forms.base import Shape
from reticule.forms.sparse import LARGEST_SIDE, block_sides


class BlocksCodec:
    """A mask of blocks instead of weights; the values sit under what it comes to."""

    kind: type[Form] = Sparse

    def write(self, form: Sparse, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        fine = form.mask().reshape(slot.layout.axes)
        sides = block_sides(fine)
        for side in sides:
            out.structure.varint(side)
        blocks = _blocks(slot, sides, fine.astype(np.uint8).reshape(-1))
        first = fine[tuple(slice(None, None, side) for side in sides)]
        place = Slot(blocks.layout.axes, blocks.layout, role=Role.INDEX)
        out.array(place, Kind.MASK, first.astype(np.uint8), 1, blocks=blocks)
        return [(form.values, slot.under(blocks.mask))]

    def read(self, slot: Slot, source: Reader) -> Part:
        if slot.mask is not None:
            raise source.fail(Fault.UNKNOWN_FORM, "blocks under a mask")
        if slot.labels is not None:  # which would be cut elsewhere
            raise source.fail(Fault.UNKNOWN_FORM, "a mask of blocks with labels")
        layout = slot.layout
        sides = tuple(source.structure.varint() for _ in layout.axes)
        most = (LARGEST_SIDE, LARGEST_SIDE, layout.height, layout.width)
        for side, axis, limit in zip(sides, layout.axes, most, strict=True):
            if not 1 <= side <= min(axis, limit):
                raise source.fail(Fault.BAD_INDEX, f"blocks {side} long on an axis of {axis}")
        # The mask of the weights, and row pointers.
        source.budget.spend(layout.size + layout.rows, source.where)
        blocks = _blocks(slot, sides, np.zeros(layout.size, np.uint8))
        place = Slot(blocks.layout.axes, blocks.layout, role=Role.INDEX)
        source.array(place, Kind.MASK, "u1", 1, blocks=blocks)

        def build(forms: list[Form]) -> Form:
            return Sparse.at(slot.take(blocks.mask.data).view(bool), forms[0])

        return Part(build, [slot.under(blocks.mask)])


def _blocks(slot: Slot, sides: Shape, mask: np.ndarray) -> Blocks:
    return Blocks(sides, Array(Kind.MASK, slot.layout, mask, 1, together=sides[0]))


def in_blocks(form: Form, slot: Slot) -> bool:
    """Whether some whole blocks of a form are stored, of four weights at least, and some not."""
    if not isinstance(form, Sparse) or slot.mask is not None or slot.labels is not None:
        return False
    if form.columns.size in (0, form.size):
        return False
    return prod(block_sides(form.mask().reshape(slot.layout.axes))) >= 4
