"""How coefficients of images are stored: lapped transforms and wavelets."""

from __future__ import annotations

from collections.abc import Callable

from reticule.codec.arrays import Slot
from reticule.codec.parts import Part, Reader, Writer
from reticule.errors import Fault, ModelError
from reticule.forms import Form, Lapped, Wavelet
from reticule.forms.grids import LARGEST_WEIGHT, largest_of, misfit
from reticule.forms.lifting import FACTORS

_KINDS = tuple(FACTORS)
_LEVELS = 16  # the kind of a wavelet is above its levels


class LappedCodec:
    """Grid and block; the coefficients sit where the weights would."""

    kind: type[Form] = Lapped

    def write(self, form: Lapped, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        return _written(form, form.block, slot, out)

    def read(self, slot: Slot, source: Reader) -> Part:
        grid, block = _read(slot, source)
        return _part(slot, source, lambda inner: Lapped(inner, grid, block))


class WaveletCodec:
    """Grid, and kind and levels in one number; the coefficients sit where the weights would."""

    kind: type[Form] = Wavelet

    def write(self, form: Wavelet, slot: Slot, out: Writer) -> list[tuple[Form, Slot]]:
        detail = _LEVELS * _KINDS.index(form.kind) + form.levels
        return _written(form, detail, slot, out)

    def read(self, slot: Slot, source: Reader) -> Part:
        grid, detail = _read(slot, source)
        kind, levels = divmod(detail, _LEVELS)
        if kind >= len(_KINDS):
            raise source.fail(Fault.UNKNOWN_FORM, f"a wavelet of kind {kind}")
        return _part(slot, source, lambda inner: Wavelet(inner, grid, _KINDS[kind], levels))


def _written(
    form: Lapped | Wavelet, detail: int, slot: Slot, out: Writer
) -> list[tuple[Form, Slot]]:
    if slot.mask is not None:
        raise ModelError("the values of a sparse form have no images to transform")
    if not _bounded(form):
        raise ModelError("its coefficients are so large that weights may be infinite")
    for number in (*form.grid, detail):
        out.structure.varint(number)
    return [(form.coefficients, slot)]


def _read(slot: Slot, source: Reader) -> tuple[tuple[int, int], int]:
    """The grid, which fits, and what else there is."""
    if slot.mask is not None:
        raise source.fail(Fault.UNKNOWN_FORM, "a transform under a mask")
    height, width, detail = (source.structure.varint() for _ in range(3))
    if fault := misfit(slot.shape, (height, width)):
        raise source.fail(Fault.BAD_VALUE, fault)
    return (height, width), detail


def _part(slot: Slot, source: Reader, made: Callable[[Form], Lapped | Wavelet]) -> Part:
    def build(forms: list[Form]) -> Form:
        try:
            form = made(forms[0])
        except ValueError as problem:
            raise source.fail(Fault.BAD_VALUE, str(problem)) from None
        if not _bounded(form):
            raise source.fail(Fault.BAD_VALUE, "its coefficients are too large")
        return form

    return Part(build, [slot])


def _bounded(form: Lapped | Wavelet) -> bool:
    """Whether every number on the way to a weight is finite as a float32."""
    return largest_of(form.coefficients.dense()) * form.gain <= LARGEST_WEIGHT
