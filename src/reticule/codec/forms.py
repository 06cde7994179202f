"""Tensors into structure and arrays, and back.

A tensor is a sequence of parts in prefix order: a form comes before the forms inside it
and says where they sit.  Parts are read into a list and built from its end, so neither
direction recurses.  Building waits until the arrays have been decoded.

To add a form, write a :class:`~reticule.codec.parts.FormCodec` for it in ``storage/``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.codec.arrays import Array, Labels, Slot
from reticule.codec.bits import ByteReader
from reticule.codec.limits import Budget, Limits, size_within
from reticule.codec.parts import Part, Reader, Writer
from reticule.codec.storage import IN_BLOCKS, LABELLED, REGISTRY
from reticule.codec.storage.blocks import in_blocks
from reticule.codec.storage.labels import hint, read_labels, write_labels
from reticule.errors import Fault, ModelError
from reticule.forms import BlockLabels, Dense, Form
from reticule.forms.base import Shape

_DEFAULT = Limits()


def _tag_of(form: Form, slot: Slot) -> int:
    if isinstance(form, Dense):
        return 0 if form.values.dtype == np.float32 else 1
    if in_blocks(form, slot):
        return IN_BLOCKS
    for tag, entry in REGISTRY.items():
        if type(form) is entry.kind:
            return tag
    raise ModelError(f"the form '{form.name}' cannot be stored in a .ret file")


def write_form(form: Form, out: Writer, labels: BlockLabels | None = None) -> None:
    """Append a tensor: rank and first tag in one integer, its axes, and its parts.

    Labels that do not fit the form are left out.
    """
    if len(form.shape) > _DEFAULT.rank:
        raise ModelError(f"shape {form.shape} has rank {len(form.shape)}")
    whole = Slot.of(form.shape)
    labelled = labels is not None and labels.fits(form.shape)
    first = LABELLED if labelled else _tag_of(form, whole)
    out.structure.varint(len(form.shape) + 16 * first)
    for axis in form.shape:
        out.structure.varint(axis)
    if labels is not None and labelled:
        whole = write_labels(labels, whole, out)
    waiting = [(form, whole)]
    parts = int(labelled)
    while waiting:
        part, slot = waiting.pop()
        tag = _tag_of(part, slot)
        parts += 1
        if parts > _DEFAULT.form_parts:
            raise ModelError(f"more than {_DEFAULT.form_parts} nested forms")
        if labelled or part is not form:
            out.structure.varint(tag)
        waiting.extend(reversed(REGISTRY[tag].write(part, slot, out)))


@dataclass(frozen=True)
class Pending:
    """A tensor whose structure has been read: its shape, its arrays, and how to build it."""

    shape: Shape
    arrays: list[Array]
    parts: list[Part]
    labels: Labels | None = None

    def build(self) -> Form:
        """The form; its arrays must have been filled."""
        stack: list[Form] = []
        for part in reversed(self.parts):
            inner = [stack.pop() for _ in part.inner]
            stack.append(part.build(inner))
        return stack[0]

    def hint(self) -> BlockLabels | None:
        """The labels of its rows and columns, once it has been built."""
        return None if self.labels is None else hint(self.labels)


def read_form(structure: ByteReader, budget: Budget) -> Pending:
    """Inverse of :func:`write_form`, up to the contents of the arrays."""
    tag, rank = divmod(structure.varint(), 16)
    if rank > budget.limits.rank:
        raise structure.fail(Fault.TOO_LARGE, f"rank {rank}")
    shape = tuple(structure.varint() for _ in range(rank))
    size_within(shape, budget.limits, structure.where)
    source = Reader(structure, budget, structure.where)
    parts: list[Part] = []
    labels: Labels | None = None
    waiting = [Slot.of(shape)]
    while waiting:
        slot = waiting.pop()
        if len(parts) == budget.limits.form_parts:
            raise source.fail(Fault.TOO_LARGE, f"more than {len(parts)} nested forms")
        if parts:
            tag = structure.varint()
        if tag not in REGISTRY and (tag != LABELLED or parts):
            raise source.fail(Fault.UNKNOWN_FORM, f"tag {tag}")
        budget.spend(Budget.FORM, source.where)
        if tag == LABELLED:
            slot, part = read_labels(slot, source)
            labels = slot.labels
        else:
            part = REGISTRY[tag].read(slot, source)
        parts.append(part)
        waiting.extend(reversed(part.inner))
    return Pending(shape, source.arrays, parts, labels)
