"""How the blocks of a tensor's rows and columns are stored, around its form."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from reticule.codec.arrays import Array, Kind, Labels, Layout, Role, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault
from reticule.forms import BlockLabels, Form
from reticule.forms.labels import MOST_PAIRS
from reticule.forms.quantised import trellis_rows


def write_labels(labels: BlockLabels, slot: Slot, out: Writer) -> Slot:
    """How many blocks there are, and their labels; the place of the form, which knows them."""
    for count in labels.blocks:
        out.structure.varint(count)
    arrays = _arrays(slot.layout, labels.blocks)
    arrays.rows.data[:] = labels.rows
    arrays.columns.data.reshape(-1, labels.columns.size)[:] = labels.columns
    out.arrays.extend((arrays.rows, arrays.columns))
    return replace(slot, labels=arrays)


def read_labels(slot: Slot, source: Reader) -> tuple[Slot, Part]:
    """Inverse of :func:`write_labels`; the part checks the labels and passes the form on."""
    layout = slot.layout
    if len(slot.shape) < 2 or not layout.size:
        raise source.fail(Fault.UNKNOWN_FORM, f"blocks of rows in the shape {slot.shape}")
    blocks = source.structure.varint(), source.structure.varint()
    for count, axis in zip(blocks, (layout.rows, layout.channels), strict=True):
        if not 1 <= count <= axis:
            raise source.fail(Fault.BAD_INDEX, f"{count} blocks on an axis of {axis}")
    if prod(blocks) > MOST_PAIRS:
        raise source.fail(Fault.TOO_LARGE, f"{blocks[0]} blocks of rows and {blocks[1]} of columns")
    groups = -(-layout.rows // trellis_rows(layout.columns))
    source.budget.spend(layout.rows + groups * layout.channels, source.where)
    labels = _arrays(layout, blocks)
    source.arrays.extend((labels.rows, labels.columns))
    inner = replace(slot, labels=labels)

    def build(forms: list[Form]) -> Form:
        columns = labels.columns.data.reshape(groups, -1)
        if (columns != columns[0]).any():
            raise source.fail(Fault.BAD_INDEX, "columns are in other blocks in other row groups")
        return forms[0]

    return inner, Part(build, [inner])


def hint(labels: Labels) -> BlockLabels:
    """The labels, once their arrays have been filled."""
    return BlockLabels(labels.rows.data, labels.columns.data[: labels.columns.layout.channels])


def _arrays(layout: Layout, blocks: tuple[int, int]) -> Labels:
    rows = trellis_rows(layout.columns)
    groups = -(-layout.rows // rows)
    return Labels(
        _array(Layout(layout.rows, 1, 1, 1), blocks[0], rows),
        _array(Layout(groups, layout.channels, 1, 1), blocks[1], 1),
    )


def _array(layout: Layout, blocks: int, cut: int) -> Array:
    data = np.zeros(layout.size, np.int32)
    return Array(Kind.LABELS, layout, data, blocks - 1, role=Role.INDEX, cut=cut)
