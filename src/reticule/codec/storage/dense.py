"""How weights in floating point are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reticule.codec.arrays import Kind, Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Dense, Form


@dataclass(frozen=True)
class DenseCodec:
    """Bit patterns of float32 or float16 numbers."""

    dtype: str
    kind: type[Form] = Dense

    def write(self, form: Dense, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        if not np.isfinite(form.values).all():
            raise ModelError("weights are NaN or infinite; repair or retrain the network first")
        flat = np.ascontiguousarray(form.values).reshape(-1)
        out.array(slot, Kind.FLOATS, flat.view(self._patterns))
        return []

    def read(self, slot: Slot, source: Reader) -> Part:
        array = source.array(slot, Kind.FLOATS, self._patterns)

        def build(_: list[Form]) -> Form:
            values = slot.take(array.data).view(self.dtype)
            if not np.isfinite(values).all():
                raise source.fail(Fault.BAD_VALUE)
            return Dense(values)

        return Part(build)

    @property
    def _patterns(self) -> str:
        return self.dtype.replace("f", "u")
