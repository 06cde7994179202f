"""The weight section: structure of all tensors, and the chunks of their arrays.

Writer and reader go the same way: structure gives arrays, arrays give the plan of chunks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import prod
from types import MappingProxyType
from typing import Protocol

from reticule.codec.accounting import HEADER, Costs
from reticule.codec.arrays import Array, Piece
from reticule.codec.bits import ByteReader, ByteWriter
from reticule.codec.chunks import HINTED, PRESETS, check_preset, coder, plan
from reticule.codec.forms import Pending, read_form, write_form
from reticule.codec.limits import Budget, Limits
from reticule.codec.parallel import in_order
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

    ``chunks`` end in their checksums and lie in one piece, which can be let go as one.  ``costs``
    says what each tensor took of the section and for what, ``bytes_coded`` what the coders made.
    """

    head: bytes
    chunks: bytearray
    costs: Costs
    bytes_coded: int

    @property
    def size(self) -> int:
        """Bytes of both parts."""
        return len(self.head) + len(self.chunks)


def write_section(
    forms: Mapping[str, Form],
    preset: str,
    hints: Mapping[str, BlockLabels] = MappingProxyType({}),
    threads: int | None = None,
) -> Written:
    """The weight section of these tensors, in this order; only one preset makes use of hints.

    Chunks are coded on so many threads at once (None: one for each processor), and what goes
    into them is laid out when they need it: not the whole network at once.
    """
    check_preset(preset)
    source = _Source(forms, preset, hints)
    costs: Costs = {}
    lengths, chunks, bytes_coded = ByteWriter(), bytearray(), 0

    def code(chunk: _Chunk) -> tuple[list[tuple[str, str]], _Coded]:
        return chunk.keys, _Coded.shortest(chunk.pieces, preset)

    for keys, chunk in in_order(code, source.chunks(), threads):
        for key, size in zip(keys, chunk.sizes, strict=True):
            costs[key] = costs.get(key, 0) + size
        lengths.varint(2 * len(chunk.data) + chunk.is_instant)
        chunks += chunk.data
        chunks += zlib.crc32(chunk.data).to_bytes(_CRC, "little")
        bytes_coded += len(chunk.data)
    head = _head(source.structure.bytes(), preset) + lengths.bytes()
    return Written(head, chunks, source.costs | costs, bytes_coded)


@dataclass(frozen=True)
class _Chunk:
    """Pieces to code, and for each of them where its bytes are counted."""

    pieces: list[Piece]
    keys: list[tuple[str, str]]

    @property
    def tensors(self) -> list[str]:
        """The tensors that it holds something of, in order."""
        return list(dict.fromkeys(name for name, _ in self.keys))


@dataclass(frozen=True)
class _Source:
    """Tensors to write, and what writing those that were taken has made so far."""

    forms: Mapping[str, Form]
    preset: str
    hints: Mapping[str, BlockLabels]
    structure: ByteWriter = field(default_factory=ByteWriter)
    costs: Costs = field(default_factory=dict)  # of the structure
    owner: dict[int, str] = field(default_factory=dict)  # of arrays, by identity

    def chunks(self) -> Iterator[_Chunk]:
        """All chunks; the structure is complete after the last."""
        for pieces in plan(self._arrays(), 1 << TARGET_BITS):
            # The arrays of these pieces exist, so that no other has their identity.
            yield _Chunk(pieces, [_key(self.owner[id(p.array)], p) for p in pieces])

    def _arrays(self) -> Iterator[list[Array]]:
        for name, form in self.forms.items():
            out = Writer(self.structure)
            before = len(self.structure)
            try:
                write_form(form, out, self.hints.get(name) if self.preset == HINTED else None)
            except ModelError as problem:
                raise ModelError(f"tensor '{name}': {problem}") from None
            self.costs[name, HEADER] = len(self.structure) - before
            self.owner.update((id(array), name) for array in out.arrays)
            yield out.arrays


def _key(tensor: str, piece: Piece) -> tuple[str, str]:
    return tensor, piece.array.role.value


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
    shapes: list[Shape]  # of all tensors, in order
    pending: dict[str, Pending]  # those that were not built yet
    costs: Costs  # structure of each tensor, and what was decoded so far
    chunks: list[_Chunk]  # those that were decoded are empty
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
        owner = {id(array): name for name, tensor in pending.items() for array in tensor.arrays}
        chunks = [
            _Chunk(pieces, [_key(owner[id(p.array)], p) for p in pieces])
            for pieces in plan([tensor.arrays for tensor in pending.values()], 1 << (kind >> 3))
        ]
        lengths = [head.varint() for _ in chunks]
        head.finish()
        spans = _spans([(length >> 1) + _CRC for length in lengths], len(data), where)
        preset = PRESETS[kind & 3]
        coders = [PRESETS[0] if length & 1 else preset for length in lengths]
        shapes = [tensor.shape for tensor in pending.values()]
        return cls(where, preset, limits, shapes, pending, costs, chunks, coders, data, spans)

    @property
    def bytes_coded(self) -> int:
        """Bytes of all chunks without their checksums."""
        return sum(end - start - _CRC for start, end in self.spans)

    def forms(
        self, tensors: Sequence[str], threads: int | None = None
    ) -> tuple[dict[str, Form], dict[str, BlockLabels]]:
        """Decode what is needed for these tensors, and build them: forms, and blocks of some.

        What was decoded is let go as soon as it has become a form, so this is done once.
        """
        wanted = set(tensors)
        left = dict.fromkeys(tensors, 0)  # chunks that a tensor still waits for
        needed = []
        for number, chunk in enumerate(self.chunks):
            if found := wanted.intersection(chunk.tensors):
                needed.append(number)
                for name in found:
                    left[name] += 1
        forms: dict[str, Form] = {}
        hints: dict[str, BlockLabels] = {}

        def build(names: Iterable[str]) -> None:
            for name in names:
                pending = self.pending.pop(name)
                forms[name] = pending.build()
                if (hint := pending.hint()) is not None:
                    hints[name] = hint

        build([name for name, count in left.items() if not count])
        decoded = in_order(self._decode, needed, threads)
        for number, sizes in zip(needed, decoded, strict=True):
            chunk, self.chunks[number] = self.chunks[number], _Chunk([], [])
            for key, size in zip(chunk.keys, sizes, strict=True):
                self.costs[key] = self.costs.get(key, 0) + size
            held = [name for name in chunk.tensors if name in wanted]
            for name in held:
                left[name] -= 1
            del chunk
            build(name for name in held if not left[name])
        return {name: forms[name] for name in tensors}, {n: hints[n] for n in tensors if n in hints}

    def _decode(self, number: int) -> list[int]:
        """Fill the pieces of a chunk; returns the bytes of each."""
        chunk = self.chunks[number]
        names = " to ".join(
            f"'{name}'" for name in dict.fromkeys((chunk.tensors[0], chunk.tensors[-1]))
        )
        start, end = self.spans[number]
        reader = ByteReader(self.data[start:end], f"{self.where}: tensor {names}")
        payload = reader.raw(end - start - _CRC)
        reader.checksum()
        inner = ByteReader(payload, reader.where)
        sizes = coder(self.coders[number]).decode(inner, chunk.pieces, self.limits)
        for piece in chunk.pieces:
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
