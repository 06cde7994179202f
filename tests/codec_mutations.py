"""Damaged and forged ``.ret`` files: taken apart, changed, and put together with new checksums.

Taking apart is written against docs/format.md alone, so that it does not share the
reader's mistakes.
"""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from codec_samples import same_form

from reticule.codec import loads
from reticule.errors import ReticuleError
from reticule.forms import Packed

MEMORY = 64 << 20  # that reading may take, besides 16 bytes for each weight declared


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


@dataclass(frozen=True)
class Parts:
    """A file in pieces; ``lengths`` overrides what a length field says (name -> value)."""

    start: bytes  # magic and version
    weights: int
    metadata: bytes  # JSON, or deflated bytes where ``deflated`` is given
    bodies: tuple[bytes, ...]
    deflated: bytes | None = None
    forged: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, data: bytes) -> Parts:
        numbers = []
        at = 5
        for _ in range(4):
            number, at = read_varint(data, at)
            numbers.append(number)
        deflated, _, _, weights = numbers
        metadata = zlib.decompress(data[at : at + deflated], -15)
        at += deflated + 4
        bodies = []
        while at < len(data):
            length, at = read_varint(data, at)
            bodies.append(data[at : at + length])
            at += length + 4
        return cls(data[:5], weights, metadata, tuple(bodies))

    def bytes(self) -> bytes:
        """The file, with lengths and checksums that hold unless they are forged."""
        forged = dict(self.forged)
        deflated = self.deflated
        if deflated is None:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            deflated = packer.compress(self.metadata) + packer.flush()
        section = b""
        for index, body in enumerate(self.bodies):
            record = varint(forged.get(f"record {index}", len(body))) + body
            section += record + zlib.crc32(record).to_bytes(4, "little")
        head = self.start + b"".join(
            varint(forged.get(name, number))
            for name, number in [
                ("deflated", len(deflated)),
                ("inflated", len(self.metadata)),
                ("section", len(section)),
                ("weights", self.weights),
            ]
        )
        head += deflated
        return head + zlib.crc32(head).to_bytes(4, "little") + section


HUGE = [2**15, 2**24, 2**31 - 1, 2**31, 2**32, 2**48, 2**63 - 1]
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
    name = dice.choice(["deflated", "inflated", "section", f"record {len(parts.bodies) // 2}"])
    return replace(parts, forged=((name, dice.choice(HUGE)),)).bytes()


def _forge_weights(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    return replace(parts, weights=dice.choice([0, parts.weights + 1, *HUGE])).bytes()


def _change_body(parts: Parts, dice: random.Random, change: Callable[[bytearray], None]) -> bytes:
    bodies = [bytearray(body) for body in parts.bodies]
    for _ in range(dice.choice([1, 1, 3])):
        change(dice.choice(bodies))
    return replace(parts, bodies=tuple(map(bytes, bodies))).bytes()


def _body_bits(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    def change(body: bytearray) -> None:
        near = len(body) if dice.random() < 0.5 else min(len(body), 24)  # headers and tables
        body[dice.randrange(near)] ^= 1 << dice.randrange(8)

    return _change_body(parts, dice, change)


def _body_bytes(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    def change(body: bytearray) -> None:
        at = dice.randrange(len(body))
        kind = dice.randrange(3)
        if kind == 0:
            body[at] = dice.randrange(256)
        elif kind == 1:
            body[at:at] = dice.randbytes(dice.randrange(1, 5))
        else:
            del body[at : at + dice.randrange(1, 5)]
        body[:] = body or b"\x00"

    return _change_body(parts, dice, change)


def _body_counts(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    def change(body: bytearray) -> None:
        at = dice.randrange(min(len(body), 12))
        end = at + 1
        while end < len(body) and body[end - 1] > 0x7F:
            end += 1
        body[at:end] = varint(dice.choice(HUGE))

    return _change_body(parts, dice, change)


def _huge_tensor(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    """A shape, and the weights of the file, that agree on far too much."""
    bodies = list(parts.bodies)
    index = dice.randrange(len(bodies))
    body = bodies[index]
    rank = body[0] & 15
    at, old = 1, 1
    for _ in range(rank):
        axis, at = read_varint(body, at)
        old *= axis
    rank, axis = dice.choice([1, 2, 4]), dice.choice([2**12, *HUGE])
    shape = [axis] + [1] * (rank - 1)
    bodies[index] = bytes([body[0] & 0xF0 | rank]) + b"".join(map(varint, shape)) + body[at:]
    return replace(parts, bodies=tuple(bodies), weights=parts.weights - old + axis).bytes()


def _swap_bodies(parts: Parts, data: bytes, dice: random.Random) -> bytes:
    bodies = list(parts.bodies)
    a, b = dice.randrange(len(bodies)), dice.randrange(len(bodies))
    bodies[a], bodies[b] = bodies[b], bodies[a]
    if dice.random() < 0.3:
        bodies.pop(a)
    return replace(parts, bodies=tuple(bodies)).bytes()


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
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = bytearray(packer.compress(parts.metadata) + packer.flush())
    out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.3:
        out += dice.randbytes(3)
    return replace(parts, deflated=bytes(out)).bytes()


# Changes that every checksum catches, and changes with the checksums repaired.
PLAIN = [_flip, _cut, _extend]
REPAIRED = [
    _forge_length, _forge_weights, _body_bits, _body_bits, _body_bytes, _body_counts,
    _huge_tensor, _swap_bodies, _json, _json, _json_bomb, _deflated,
]  # fmt: skip


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
        if change is _json_bomb and dice.random() < 0.8:
            change = _json  # bombs take long to build
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


def outcome(mutation: Mutation, originals: list[Packed]) -> Outcome:
    """Read a changed file, under tracemalloc; only a ReticuleError counts as refusing it."""
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    packed, problem = None, ""
    try:
        packed = loads(mutation.data).packed
    except ReticuleError as error:
        problem = str(error)
    peak = tracemalloc.get_traced_memory()[1] - before
    seconds = time.process_time() - start
    if packed is None:
        return Outcome(problem, "\n" not in problem, peak <= MEMORY, seconds, peak)
    if mutation.repaired:
        valid = packed.network().check() is not None
    else:
        forms = originals[mutation.original].forms
        valid = all(same_form(forms[name], form) for name, form in packed.forms.items())
    weights = sum(form.size for form in packed.forms.values())
    return Outcome("", valid, peak <= MEMORY + 16 * weights, seconds, peak)
