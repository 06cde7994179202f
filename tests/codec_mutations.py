"""Damaged and forged ``.ret`` files: taken apart, changed, and put together with new checksums.

Taking apart is written against docs/format.md alone, so that it does not share the
reader's mistakes.
"""

from __future__ import annotations

import json
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from unittest.mock import patch

from codec_samples import SAMPLES, described, same_form

from reticule.codec import dumps, loads, section
from reticule.codec.metadata import DICTIONARY
from reticule.errors import ReticuleError
from reticule.forms import Packed

MEMORY = 64 << 20  # that reading may take, besides 24 bytes for each weight declared


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def deflate(data: bytes, dictionary: bytes = b"") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=dictionary)
    return packer.compress(data) + packer.flush()


def with_checksum(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "little")


def structure_of(data: bytes, at: int) -> int:
    """Where the structure of the tensor that begins here ends."""
    first, at = read_varint(data, at)
    tag = first // 16
    for _ in range(first % 16):
        _, at = read_varint(data, at)
    if tag == 14:
        for _ in range(2):
            _, at = read_varint(data, at)
        tag, at = read_varint(data, at)
    left = 1  # forms whose structure is still to come
    while left:
        inside = {2: 1, 3: 1, 5: 1, 6: 2, 7: 1, 8: 2, 9: 1, 10: 1, 12: 1}.get(tag, 0)
        if tag in (2, 8):
            _, at = read_varint(data, at)
        elif tag in (4, 11):
            at += 5 if data[at] & (8 if tag == 4 else 64) else 3
        elif tag in (9, 10, 12):
            for _ in range(4 if tag == 12 else 3):
                _, at = read_varint(data, at)
        elif tag == 7:
            count, at = read_varint(data, at + 4)
            for _ in range(count):
                _, at = read_varint(data, at)
        elif tag == 13:
            _, at = read_varint(data, at)
            second, at = read_varint(data, at)
            inside = 3 if second else 2
        left += inside - 1
        if left:
            tag, at = read_varint(data, at)
    return at


@dataclass(frozen=True)
class Parts:
    """A file in pieces; ``forged`` overrides what a length field says (name, value)."""

    start: bytes  # magic and version
    weights: int
    metadata: bytes  # JSON, or deflated bytes where ``deflated`` is given
    kind: int  # preset and target of the chunks
    tensors: tuple[bytes, ...]  # their structure
    chunks: tuple[bytes, ...]
    instant: tuple[bool, ...] = ()  # of each chunk whether it is coded like that; False for all
    deflated: bytes | None = None
    structure: bytes | None = None  # deflated, instead of that of the tensors
    forged: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, data: bytes) -> Parts:
        numbers = []
        at = 5
        for _ in range(5):
            number, at = read_varint(data, at)
            numbers.append(number)
        deflated, _, head, _, weights = numbers
        metadata = zlib.decompressobj(-15, zdict=DICTIONARY).decompress(data[at : at + deflated])
        at += deflated
        end = at + head
        kind = data[at]
        length, at = read_varint(data, at + 1)
        if kind & 4:
            packed, at = read_varint(data, at)
            structure, at = zlib.decompress(data[at : at + packed], -15), at + packed
        else:
            structure, at = data[at : at + length], at + length
        starts = [0]
        while starts[-1] < length:
            starts.append(structure_of(structure, starts[-1]))
        tensors = tuple(structure[a:b] for a, b in pairwise(starts))
        chunks, instant = [], []
        start = end + 4
        while at < end:
            size, at = read_varint(data, at)
            chunks.append(data[start : start + size // 2])
            instant.append(size % 2 == 1)
            start += size // 2 + 4
        return cls(data[:5], weights, metadata, kind & ~4, tensors, tuple(chunks), tuple(instant))

    def bytes(self) -> bytes:
        """The file, with lengths and checksums that hold unless they are forged."""
        forged = dict(self.forged)
        deflated = deflate(self.metadata, DICTIONARY) if self.deflated is None else self.deflated
        plain = b"".join(self.tensors)
        packed = deflate(plain) if self.structure is None else self.structure
        head = bytes([self.kind | 4]) + varint(forged.get("structure", len(plain)))
        head += varint(forged.get("packed", len(packed))) + packed
        for index, chunk in enumerate(self.chunks):
            is_instant = index < len(self.instant) and self.instant[index]
            head += varint(2 * forged.get(f"chunk {index}", len(chunk)) + is_instant)
        section = b"".join(map(with_checksum, self.chunks))
        lengths = b"".join(
            varint(forged.get(name, number))
            for name, number in [
                ("deflated", len(deflated)),
                ("inflated", len(self.metadata)),
                ("head", len(head)),
                ("section", len(head) + 4 + len(section)),
                ("weights", self.weights),
            ]
        )
        return with_checksum(self.start + lengths + deflated + head) + section


def shape(tag: int, *axes: int) -> bytes:
    """How the structure of a tensor begins."""
    return b"".join(map(varint, [len(axes) + 16 * tag, *axes]))


def crafted(structure: bytes, weights: int, *chunks: bytes, kind: int = 0x88) -> Parts:
    """A network of one tensor, with this structure and these chunks; by default ``instant``."""
    plain = {"inputs": {"x": [4]}, "outputs": ["y"], "nodes": [["Relu", "y", ["x"]]]}
    text = json.dumps({**plain, "tensors": ["w"]}).encode()
    return Parts(b"\x89RET\x02", weights, text, kind, (structure,), chunks)


HUGE = [2**15, 2**24, 2**31 - 1, 2**31, 2**32, 2**48, 2**62 - 1]
_JSON = ["[", "]", "{", "}", ",", '"', "0", "-1", "99999999999", "1e999", "null", "[[]]", "\\u0000"]


def _flip(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 8])):
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def _cut(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _extend(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.randrange(1, 50))


def _forge_length(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    names = ["deflated", "inflated", "head", "section", "structure", "packed"]
    name = dice.choice([*names, f"chunk {dice.randrange(len(parts.chunks))}"])
    return replace(parts, forged=((name, dice.choice([0, 1, *HUGE])),)).bytes()


def _forge_weights(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return replace(parts, weights=dice.choice([0, parts.weights + 1, *HUGE])).bytes()


def _forge_coders(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """Chunks that are said to be coded otherwise."""
    coders = tuple(dice.random() < 0.5 for _ in parts.chunks)
    return replace(parts, instant=coders).bytes()


def _forge_kind(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """Another preset, or other chunks."""
    return replace(parts, kind=dice.randrange(256) & ~4).bytes()


def _change(
    parts: Parts, field: str, dice: random.Random, change: Callable[[bytearray], None]
) -> bytes:
    pieces = [bytearray(piece) for piece in getattr(parts, field)]
    for _ in range(dice.choice([1, 1, 3])):
        change(dice.choice(pieces))
    return replace(parts, **{field: tuple(map(bytes, pieces))}).bytes()


def _some_bits(body: bytearray, dice: random.Random) -> None:
    near = len(body) if dice.random() < 0.5 else min(len(body), 24)  # heads and tables
    if body:
        body[dice.randrange(near)] ^= 1 << dice.randrange(8)


def _some_bytes(body: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(body) + 1)
    kind = dice.randrange(3)
    if kind == 0:
        body[at : at + 1] = dice.randbytes(1)
    elif kind == 1:
        body[at:at] = dice.randbytes(dice.randrange(1, 5))
    else:
        del body[at : at + dice.randrange(1, 5)]


def _some_number(body: bytearray, dice: random.Random) -> None:
    at = dice.randrange(min(len(body), 12) + 1)
    end = at + 1
    while end < len(body) and body[end - 1] > 0x7F:
        end += 1
    body[at:end] = varint(dice.choice(HUGE))


def _tensor_bits(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return _change(parts, "tensors", dice, lambda body: _some_bits(body, dice))


def _tensor_bytes(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return _change(parts, "tensors", dice, lambda body: _some_bytes(body, dice))


def _tensor_numbers(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return _change(parts, "tensors", dice, lambda body: _some_number(body, dice))


def _chunk_bits(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return _change(parts, "chunks", dice, lambda body: _some_bits(body, dice))


def _chunk_bytes(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return _change(parts, "chunks", dice, lambda body: _some_bytes(body, dice))


def _chunk_numbers(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return _change(parts, "chunks", dice, lambda body: _some_number(body, dice))


def _other_chunk(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """A chunk that is noise, or one byte over and over."""
    size = dice.choice([0, 1, 2, 16, 1000])
    chunk = dice.choice([dice.randbytes(size), bytes(size), b"\xff" * size])
    index = dice.randrange(len(parts.chunks))
    chunks = (*parts.chunks[:index], chunk, *parts.chunks[index + 1 :])
    return replace(parts, chunks=chunks).bytes()


def _huge_tensor(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """A shape, and the weights of the file, that agree on far too much."""
    tensors = list(parts.tensors)
    index = dice.randrange(len(tensors))
    first, at = read_varint(tensors[index], 0)
    old = 1
    for _ in range(first % 16):
        axis, at = read_varint(tensors[index], at)
        old *= axis
    rank, axis = dice.choice([1, 2, 4]), dice.choice([2**12, *HUGE])
    shape = [axis] + [1] * (rank - 1)
    dice.shuffle(shape)
    if dice.random() < 0.2:
        shape[0] = 0
    new = prod(shape)
    tensors[index] = b"".join(map(varint, [first & ~15 | rank, *shape])) + tensors[index][at:]
    return replace(parts, tensors=tuple(tensors), weights=parts.weights - old + new).bytes()


def _swap(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """Tensors or chunks in another order, or one less."""
    field = dice.choice(["tensors", "chunks"])
    pieces = list(getattr(parts, field))
    a, b = dice.randrange(len(pieces)), dice.randrange(len(pieces))
    pieces[a], pieces[b] = pieces[b], pieces[a]
    if dice.random() < 0.3:
        pieces.pop(a)
    return replace(parts, **{field: tuple(pieces)}).bytes()


def _deflated_structure(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    out = bytearray(deflate(b"".join(parts.tensors)))
    out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.3:
        out += dice.randbytes(3)
    return replace(parts, structure=bytes(out)).bytes()


def _structure_bomb(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """A little deflated structure that is much, of empty tensors or of forms in forms."""
    size = dice.choice([2_000, 100_000, 8_000_000])
    bomb = dice.choice([b"\x00", b"\x01\x00", b"\x03", b"\x32\x00\x00" + b"\x03" * 7])
    plain = b"".join(parts.tensors[:1]) + (bomb * size)[:size]
    forged = (("structure", len(plain)),) if dice.random() < 0.8 else ()
    return replace(parts, structure=deflate(plain), forged=forged).bytes()


def _json(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    text = parts.metadata.decode()
    for _ in range(dice.choice([1, 1, 3])):
        at = dice.randrange(len(text))
        kind = dice.randrange(4)
        if kind == 0:
            text = text[:at] + dice.choice(_JSON) + text[at + 1 :]
        elif kind == 1:
            text = text[:at] + text[at + dice.randrange(1, 20) :]
        elif kind == 2:
            text = text[:at] + text[at : at + dice.randrange(1, 40)] + text[at:]
        else:
            digits = [i for i, character in enumerate(text) if character.isdigit()]
            at = dice.choice(digits or [0])
            text = text[:at] + str(dice.choice([0, 1, 7, -1, 2.5, *HUGE])) + text[at + 1 :]
        text = text or "{}"
    return replace(parts, metadata=text.encode()).bytes()


def _json_bomb(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    times = dice.choice([2_000, 100_000, 5_000_000])
    text = dice.choice([b"[" * times, b"[" * times + b"]" * times, b'{"a":' * times, b"7" * times])
    return replace(parts, metadata=text).bytes()


def _deflated(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    out = bytearray(deflate(parts.metadata, DICTIONARY))
    out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.3:
        out += dice.randbytes(3)
    return replace(parts, deflated=bytes(out)).bytes()


# Changes that every checksum catches, and changes with the checksums repaired.
PLAIN = [_flip, _cut, _extend]
REPAIRED = [
    _forge_length, _forge_weights, _forge_kind, _forge_coders, _tensor_bits, _tensor_bytes,
    _tensor_numbers, _chunk_bits, _chunk_bits, _chunk_bytes, _chunk_numbers, _other_chunk,
    _huge_tensor, _swap, _json, _json, _json_bomb, _deflated, _deflated_structure, _structure_bomb,
]  # fmt: skip
SLOW = {_json_bomb: _json, _structure_bomb: _deflated_structure}  # bombs take long to build


def files_of_many_chunks(preset: str) -> tuple[list[Packed], list[bytes]]:
    """Small networks, and files of them with more chunks than they would have."""
    networks = [make() for name, make in SAMPLES.items() if name != "chunks"]
    with patch.object(section, "TARGET_BITS", 8):
        return networks, [dumps(packed, described(), preset) for packed in networks]


@dataclass(frozen=True)
class Mutation:
    """A changed file; unless ``repaired``, its checksums are those of the original."""

    data: bytes
    original: int  # which of the files it was
    repaired: bool
    kind: str


def mutations(files: list[bytes], count: int, seed: int) -> Iterator[Mutation]:
    """A reproducible series of changed files."""
    dice = random.Random(seed)
    taken_apart = [Parts.of(data) for data in files]
    for index in range(count):
        original = dice.randrange(len(files))
        repaired = index % 4 != 0
        change = dice.choice(REPAIRED if repaired else PLAIN)
        if dice.random() < 0.8:
            change = SLOW.get(change, change)
        data = change(taken_apart[original], files[original], dice)
        yield Mutation(data, original, repaired, change.__name__.strip("_"))


@dataclass(frozen=True)
class Outcome:
    """What became of a file; ``valid`` and ``within_memory`` must hold for every one."""

    problem: str  # of a file that was refused
    valid: bool
    within_memory: bool
    seconds: float  # of processor time
    peak: int  # bytes allocated while reading


def believable_weights(data: bytes) -> int:
    """What the header declares, or 0 if the section is too small for so many weights."""
    try:
        at = 5
        for _ in range(3):
            _, at = read_varint(data, at)
        section, at = read_varint(data, at)
        weights, _ = read_varint(data, at)
    except IndexError:
        return 0
    return weights if weights <= (1 << 23) + (min(section, len(data)) << 12) else 0


def outcome(mutation: Mutation, originals: list[Packed]) -> Outcome:
    """Read a changed file, under tracemalloc; only a ReticuleError counts as refusing it."""
    tracemalloc.reset_peak()
    allowed = MEMORY + 24 * believable_weights(mutation.data)
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    packed, problem = None, ""
    try:
        packed = loads(mutation.data).packed
    except ReticuleError as error:
        problem = str(error)
    peak = tracemalloc.get_traced_memory()[1] - before
    seconds = time.process_time() - start
    if packed is None:
        return Outcome(problem, "\n" not in problem, peak <= allowed, seconds, peak)
    if mutation.repaired:
        valid = packed.network().check() is not None
    else:
        forms = originals[mutation.original].forms
        valid = all(same_form(forms[name], form) for name, form in packed.forms.items())
    return Outcome("", valid, peak <= allowed, seconds, peak)
