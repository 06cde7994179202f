"""A second reader, written from docs/format.md alone, in plain Python and without checks.

It shares no code with the codec, so it shows that the page is complete and right.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from codec_mutations import Parts, read_varint

from reticule.codec import load

GOLDEN = Path(__file__).parent / "golden"


class Bits:
    def __init__(self, data):
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def get(self, width):
        self.at += width
        return int(self.text[self.at - width : self.at] or "0", 2)

    def golomb(self, order):
        zeros = 0
        while not self.get(1):
            zeros += 1
        return (1 << (zeros + order)) + self.get(zeros + order) - (1 << order)

    def used(self, alphabet):
        width = (alphabet - 1).bit_length()
        found, last = [self.get(width)], self.get(width)
        if self.get(1):
            return list(range(found[0], last + 1))
        order = self.get(3)
        while found[-1] != last:
            found.append(found[-1] + 1 + self.golomb(order))
        return found

    def bytes_used(self):
        return (self.at + 7) // 8


def huffman(data, count, alphabet):
    bits = Bits(data)
    used = bits.used(alphabet)
    length, lengths = min((alphabet - 1).bit_length(), 15), {}
    for symbol in used:
        d = bits.golomb(0)
        length += d // 2 if d % 2 == 0 else -((d + 1) // 2)
        lengths[symbol] = length
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        code = code << (length - before)
        codes[f"{code:0{length}b}"] = symbol
        code, before = code + 1, length
    text, out, prefix = "".join(f"{b:08b}" for b in data[bits.bytes_used() :]), [], ""
    for bit in text:
        prefix += bit
        if prefix in codes and len(out) < count:
            out.append(codes[prefix])
            prefix = ""
    return out


def rans(data, count, alphabet):
    bits = Bits(data)
    scale = bits.get(4)
    used = bits.used(alphabet)
    order = bits.get(3)
    frequencies = [bits.golomb(order) + 1 for _ in used[:-1]]
    frequencies.append(2**scale - sum(frequencies))
    slots = [
        (symbol, f, offset)
        for symbol, f in zip(used, frequencies, strict=True)
        for offset in range(f)
    ]
    waiting, state, out = list(data[bits.bytes_used() :]), 0, []
    for _ in range(count):
        while state < 2**23 and waiting:
            state = 256 * state + waiting.pop(0)
        symbol, f, offset = slots[state % 2**scale]
        state = f * (state // 2**scale) + offset
        out.append(symbol)
    while state < 2**23 and waiting:
        state = 256 * state + waiting.pop(0)
    assert state == 2**scale and not waiting
    return out


class Body:
    def __init__(self, data):
        self.data, self.at = data, 0

    def varint(self):
        value, self.at = read_varint(self.data, self.at)
        return value

    def raw(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def stream(self, count, alphabet):
        if count == 0:
            return []
        tag = self.raw(1)[0]
        if tag == 0:
            width = (alphabet - 1).bit_length()
            bits = Bits(self.raw((count * width + 7) // 8))
            return [bits.get(width) for _ in range(count)]
        if tag == 1:
            return [self.varint()] * count
        return (huffman if tag == 2 else rans)(self.raw(self.varint()), count, alphabet)


def size(shape):
    out = 1
    for axis in shape:
        out *= axis
    return out


def sparse(body, shape, values):
    rows, cols = (1, size(shape)) if len(shape) < 2 else (shape[0], size(shape[1:]))
    kind = body.raw(1)[0]
    step, by_columns = 2 ** (kind % 16), kind // 16
    escapes = body.varint()
    position, stored = 0, []
    for symbol in body.stream(len(values) + escapes, step + 1):
        position += symbol
        if symbol < step:
            row, column = position // cols, position % cols
            if by_columns:
                row, column = position % rows, position // rows
            stored.append(row * cols + column)
            position += 1
    out = [0.0] * size(shape)
    for place, value in zip(sorted(stored), values, strict=True):
        out[place] = value
    return out


def weights(data):
    """The weights of one body, flat."""
    body, stack = Body(data), []
    parts, rank = divmod(body.varint(), 16)
    tensor = [body.varint() for _ in range(rank)]
    for index in range(parts + 1):
        if index == parts:
            tag, shape = body.varint(), tensor
        else:
            tag, rank = divmod(body.varint(), 16)
            shape = [body.varint() for _ in range(rank)]
        count = size(shape)
        if tag < 2:
            planes = [body.stream(count, 256) for _ in range(4 if tag == 0 else 2)]
            numbers = b"".join(bytes(number) for number in zip(*planes, strict=True))
            stack.append(list(struct.unpack(f"<{count}{'f' if tag == 0 else 'e'}", numbers)))
        elif tag == 2:
            table = stack.pop()
            if len(table) <= 4096:
                indices = body.stream(count, max(len(table), 1))
            else:
                low = body.stream(count, 256)
                high = body.stream(count, (len(table) - 1) // 256 + 1)
                indices = [a + 256 * b for a, b in zip(low, high, strict=True)]
            stack.append([table[i] for i in indices])
        else:
            stack.append(sparse(body, shape, stack.pop()))
    assert len(stack) == 1 and body.at == len(data)
    return stack[0]


@pytest.mark.parametrize("name", ["small_cnn.ret", "odd_shapes.ret"])
def test_a_reader_written_from_the_specification_agrees(name):
    forms = load(GOLDEN / name).packed.forms
    bodies = Parts.of((GOLDEN / name).read_bytes()).bodies
    for (tensor, form), body in zip(forms.items(), bodies, strict=True):
        found = struct.pack(f"<{form.size}f", *weights(body))
        assert found == form.dense().astype("<f4").tobytes(), tensor
