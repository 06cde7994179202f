"""What reading and writing a form need: where its structure and its arrays go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from reticule.codec.arrays import Array, Blocks, Kind, Role, Slot
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.limits import Budget
from reticule.errors import Fault, FormatError
from reticule.forms import Form


@dataclass(frozen=True)
class Part:
    """A form that has been read but for its arrays: where the forms inside it sit, and what
    makes it once those are there."""

    build: Callable[[list[Form]], Form]
    inner: Sequence[Slot] = ()


@dataclass(frozen=True)
class Writer:
    """What writing a form adds to: its structure and its arrays."""

    structure: ByteWriter = field(default_factory=ByteWriter)
    arrays: list[Array] = field(default_factory=list)

    def array(
        self,
        slot: Slot,
        kind: Kind,
        values: np.ndarray,
        largest: int = 0,
        states: int = 0,
        blocks: Blocks | None = None,
    ) -> Array:
        """Add an array; ``values`` has the shape of the form in this slot."""
        data = slot.place(values)
        role = _role(kind, slot)
        array = Array(
            kind, slot.layout, data, largest, states, slot.mask, role, blocks, labels=slot.labels
        )
        self.arrays.append(array)
        return array


@dataclass(frozen=True)
class Reader:
    """What reading a form takes from: structure, and room for arrays from the budget."""

    structure: ByteReader
    budget: Budget
    where: str
    arrays: list[Array] = field(default_factory=list)

    def fail(self, fault: Fault, detail: str = "") -> FormatError:
        """The error to raise for this tensor, now or when it is built."""
        return FormatError(fault, self.where, detail)

    def array(
        self,
        slot: Slot,
        kind: Kind,
        dtype: str,
        largest: int = 0,
        states: int = 0,
        blocks: Blocks | None = None,
    ) -> Array:
        """An array like the writer's, to be filled before the form is built."""
        self.budget.spend(slot.layout.size, self.where)
        data = np.empty(slot.layout.size, dtype)
        role = _role(kind, slot)
        array = Array(
            kind, slot.layout, data, largest, states, slot.mask, role, blocks, labels=slot.labels
        )
        self.arrays.append(array)
        return array


def _role(kind: Kind, slot: Slot) -> Role:
    """Masks are index wherever they sit."""
    return Role.INDEX if kind is Kind.MASK else slot.role


class FormCodec(Protocol):
    """How one form is stored: its own data, and which forms sit where inside it."""

    @property
    def kind(self) -> type[Form]: ...

    def write(self, form: Any, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]: ...

    def read(self, slot: Slot, source: Reader) -> Part: ...
