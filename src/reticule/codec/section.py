"""The weight section: structure of all tensors, and the chunks of their arrays.

Writer and reader go the same way: structure gives arrays, arrays give the plan of chunks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from types import MappingProxyType
from typing import Protocol

from reticule.codec.accounting import HEADER, Costs
from reticule.codec.arrays import Piece
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.chunks import HINTED, PRESETS, check_preset, coder, plan
from reticule.codec.forms import Pending, read_form, write_form
from reticule.codec.limits import Budget, Limits
from reticule.codec.parts import Writer
from reticule.errors import Fault, FormatError, ModelError
from reticule.forms import BlockLabels, Form
from reticule.forms.base import Shape

TARGET_BITS = 17  # values in a chunk, as a power of two
_CRC = 4

# Writing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """A weight section but for the checksum between its two parts.

    ``costs`` says what each tensor took of it and for what, ``bytes_coded`` what the coders made.
    """

    head: bytes
    chunks: bytes
    costs: Costs
    bytes_coded: int


def write_section(
    forms: Mapping[str, Form],
    preset: str,
    hints: Mapping[str, BlockLabels] = MappingProxyType({}),
) -> Written:
    """The weight section of these tensors, in this order; only one preset makes use of hints."""
    check_preset(preset)
    structure, arrays = ByteWriter(), []
    costs: Costs = {}
    for name, form in forms.items():
        out = Writer(structure)
        before = len(structure)
        try:
            write_form(form, out, hints.get(name) if preset == HINTED else None)
        except ModelError as problem:
            raise ModelError(f"tensor '{name}': {problem}") from None
        costs[name, HEADER] = len(structure) - before
        arrays.append(out.arrays)
    chunks = plan(arrays, 1 << TARGET_BITS)
    with ThreadPoolExecutor() as pool:
        coded = list(pool.map(_Coded.shortest, chunks, [preset] * len(chunks)))
    owner = _owners(forms, arrays)
    lengths, payload = ByteWriter(), ByteWriter()
    for pieces, chunk in zip(chunks, coded, strict=True):
        for piece, size in zip(pieces, chunk.sizes, strict=True):
            _add(costs, owner[id(piece.array)], piece, size)
        lengths.varint(2 * len(chunk.data) + chunk.is_instant)
        payload.raw(chunk.data)
        payload.raw(zlib.crc32(chunk.data).to_bytes(_CRC, "little"))
    head = _head(structure.bytes(), preset) + lengths.bytes()
    return Written(head, payload.bytes(), costs, sum(len(chunk.data) for chunk in coded))


def _add(costs: Costs, tensor: str, piece: Piece, size: int) -> None:
    key = tensor, piece.array.role.value
    costs[key] = costs.get(key, 0) + size


@dataclass(frozen=True)
class _Coded:
    """A chunk as bytes, how many each piece took, and whether the preset was left for instant."""

    data: bytes
    sizes: list[int]
    is_instant: bool = False

    @classmethod
    def shortest(cls, pieces: Sequence[Piece], preset: str) -> _Coded:
        """By the preset, or by instant where that is shorter: constant floats, pure noise."""
        chosen = cls(*coder(preset).encode(pieces))
        if preset != PRESETS[0]:
            instant = cls(*coder(PRESETS[0]).encode(pieces), True)
            chosen = min(chosen, instant, key=lambda chunk: len(chunk.data))
        return chosen


def _owners(names: Iterable[str], arrays: Sequence[Sequence[object]]) -> dict[int, str]:
    """The tensor of each array, by the array's identity."""
    return {id(array): name for name, own in zip(names, arrays, strict=True) for array in own}


def _head(structure: bytes, preset: str) -> bytes:
    """Kind, lengths and structure, deflated if that is shorter."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    deflated = packer.compress(structure) + packer.flush()
    out = ByteWriter()
    pays = len(deflated) + 1 < len(structure)
    out.raw(bytes([PRESETS.index(preset) | 4 * pays | 8 * TARGET_BITS]))
    out.varint(len(structure))
    if pays:
        out.varint(len(deflated))
    out.raw(deflated if pays else structure)
    return out.bytes()


# Reading --------------------------------------------------------------------------------------


class Slices(Protocol):
    """Bytes in memory or in a file, of which only some may be wanted."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> bytes | memoryview: ...


@dataclass(frozen=True)
class Section:
    """A weight section whose structure has been read, ready to decode its chunks."""

    where: str
    preset: str
    limits: Limits
    pending: dict[str, Pending]
    owner: dict[int, str]  # tensor of each array, by the array's identity
    costs: Costs  # structure of each tensor, and what was decoded so far
    chunks: list[list[Piece]]
    coders: list[str]  # the preset that each chunk was coded by
    data: Slices
    spans: list[tuple[int, int]]  # where chunks and their checksums lie in the data

    @classmethod
    def read(
        cls, head: ByteReader, data: Slices, tensors: Sequence[str], weights: int, limits: Limits
    ) -> Section:
        """Check and read the head; ``data`` are the bytes behind it."""
        where = head.where
        kind = head.byte()
        if kind & 3 >= len(PRESETS):
            raise head.fail(Fault.UNKNOWN_CODER, f"preset {kind & 3}")
        structure = _structure(head, bool(kind & 4), limits)
        budget = Budget(weights, limits)
        pending: dict[str, Pending] = {}
        costs: Costs = {}
        for tensor in tensors:
            structure.where = f"{where}: tensor '{tensor}'"
            before = structure.at
            pending[tensor] = read_form(structure, budget)
            costs[tensor, HEADER] = structure.at - before
        structure.where = where
        structure.finish()
        found = sum(prod(tensor.shape) for tensor in pending.values())
        if found != weights:
            raise FormatError(Fault.TENSORS, where, f"{found} weights, the header says {weights}")
        arrays = [tensor.arrays for tensor in pending.values()]
        chunks = plan(arrays, 1 << (kind >> 3))
        lengths = [head.varint() for _ in chunks]
        head.finish()
        spans = _spans([(length >> 1) + _CRC for length in lengths], len(data), where)
        preset = PRESETS[kind & 3]
        coders = [PRESETS[0] if length & 1 else preset for length in lengths]
        owner = _owners(tensors, arrays)
        return cls(where, preset, limits, pending, owner, costs, chunks, coders, data, spans)

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of all tensors, in order."""
        return [tensor.shape for tensor in self.pending.values()]

    @property
    def bytes_coded(self) -> int:
        """Bytes of all chunks without their checksums."""
        return sum(end - start - _CRC for start, end in self.spans)

    def forms(self, tensors: Sequence[str], threads: int) -> dict[str, Form]:
        """Decode what is needed for these tensors, and build them."""
        wanted = {id(array) for name in tensors for array in self.pending[name].arrays}
        needed = [
            number
            for number, pieces in enumerate(self.chunks)
            if any(id(piece.array) in wanted for piece in pieces)
        ]
        if threads > 1 and len(needed) > 1:
            with ThreadPoolExecutor(min(threads, len(needed))) as pool:
                decoded = list(pool.map(self._decode, needed))
        else:
            decoded = [self._decode(number) for number in needed]
        for number, sizes in zip(needed, decoded, strict=True):
            for piece, size in zip(self.chunks[number], sizes, strict=True):
                _add(self.costs, self.owner[id(piece.array)], piece, size)
        return {name: self.pending[name].build() for name in tensors}

    def hints(self) -> dict[str, BlockLabels]:
        """Blocks of those tensors that have some; their forms must have been read."""
        hints = {name: tensor.hint() for name, tensor in self.pending.items()}
        return {name: hint for name, hint in hints.items() if hint is not None}

    def _decode(self, number: int) -> list[int]:
        """Fill the pieces of a chunk; returns the bytes of each."""
        owners = list(dict.fromkeys(self.owner[id(piece.array)] for piece in self.chunks[number]))
        names = " to ".join(f"'{name}'" for name in dict.fromkeys((owners[0], owners[-1])))
        start, end = self.spans[number]
        reader = ByteReader(self.data[start:end], f"{self.where}: tensor {names}")
        payload = reader.raw(end - start - _CRC)
        reader.checksum()
        inner = ByteReader(payload, reader.where)
        sizes = coder(self.coders[number]).decode(inner, self.chunks[number], self.limits)
        for piece in self.chunks[number]:
            piece.restore()
        return sizes


def _structure(head: ByteReader, is_deflated: bool, limits: Limits) -> ByteReader:
    length = head.varint()
    if length > limits.metadata_bytes:
        raise head.fail(Fault.TOO_LARGE, f"{length} bytes of structure")
    if not is_deflated:
        return ByteReader(head.raw(length), head.where)
    inflate = zlib.decompressobj(-15)
    try:
        structure = inflate.decompress(bytes(head.raw(head.varint())), length + 1)
    except zlib.error as problem:
        raise head.fail(Fault.TENSORS, str(problem)) from None
    if len(structure) != length or not inflate.eof or inflate.unused_data:
        raise head.fail(Fault.TENSORS, "structure that does not inflate to the declared length")
    return ByteReader(structure, head.where)


def _spans(lengths: Sequence[int], room: int, where: str) -> list[tuple[int, int]]:
    """Start and end of pieces of these lengths, which must fill the room."""
    ends = list(accumulate(lengths, initial=0))
    if ends[-1] != room:
        fault = Fault.TRUNCATED if ends[-1] > room else Fault.TRAILING
        raise FormatError(fault, where, f"chunks of {ends[-1]} bytes in {room}")
    return list(pairwise(ends))
