"""A second reader, written from docs/format.md alone, in plain Python and without checks.

It shares no code with the codec, so it shows that the page is complete and right.  The
decoder of adaptive chunks is in ``reference_context.py``.
"""

from __future__ import annotations

import decimal
import functools
import itertools
import math
import operator
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import reference_context
from codec_mutations import files_of_many_chunks, read_varint
from codec_samples import SAMPLES, packed_of, quantised, transformed_forms

from reticule.codec import About, dumps, load, loads, section, streams
from reticule.codec.adaptive import AdaptiveCoder
from reticule.codec.arrays import Piece
from reticule.codec.chunks import PRESETS, plan
from reticule.codec.forms import write_form
from reticule.codec.metadata import DICTIONARY
from reticule.codec.parts import Writer
from reticule.forms import BlockLabels, Dense, Form, Quantised, Sparse

GOLDEN = [  # those of chunks are too much for adaptive models in plain Python
    path
    for path in sorted((Path(__file__).parent / "golden").glob("*.ret"))
    if path.name not in ("chunks-fast.ret", "chunks-small.ret")
]
PAGE = (Path(__file__).parents[1] / "docs" / "format.md").read_text("utf-8")


# Streams --------------------------------------------------------------------------------------


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
        if self.get(1):
            return list(range(alphabet))
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


def frequencies(bits, alphabet):
    """The scale, and (symbol, frequency) of those that occur."""
    scale, precision = bits.get(4), bits.get(3)
    used = bits.used(alphabet)
    level, weights = (scale - 1) * 2**precision, []
    for _ in used:
        d = bits.golomb(max(precision - 1, 0))
        level += d // 2 if d % 2 == 0 else -((d + 1) // 2)
        weights.append((2**precision + level % 2**precision) * 2 ** (level // 2**precision))
    total, before, found = sum(weights), 0, []
    for index, symbol in enumerate(used):
        first = index + before * (2**scale - len(used)) // total
        before += weights[index]
        behind = index + 1 + before * (2**scale - len(used)) // total
        found.append((symbol, behind - first))
    return scale, found


def rans(data, count, alphabet, lanes):
    bits = Bits(data)
    scale, table = frequencies(bits, alphabet)
    slots = [(symbol, f, offset) for symbol, f in table for offset in range(f)]
    data = data[bits.bytes_used() :]
    rest = len(data) - 8 * (lanes - 1)
    first = rest if rest <= 8 else 5 + (rest - 5) % 4
    states = [int.from_bytes(data[:first], "little")]
    states += [
        int.from_bytes(data[first + 8 * lane : first + 8 * lane + 8], "little")
        for lane in range(lanes - 1)
    ]
    words = [word for (word,) in struct.iter_unpack("<I", data[first + 8 * (lanes - 1) :])]
    words.reverse()
    out = []
    for index in range(count):
        if index % (2 * lanes) == 0:
            for lane in range(lanes):
                if states[lane] < 2**32 and words:
                    states[lane] = 2**32 * states[lane] + words.pop()
        lane = index % lanes
        symbol, f, offset = slots[states[lane] % 2**scale]
        states[lane] = f * (states[lane] // 2**scale) + offset
        out.append(symbol)
    (last,) = set(states)
    assert not words and last.bit_count() == 1 and 2**scale <= last <= 2**32
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

    def byte(self):
        return self.raw(1)[0]

    def stream(self, count, alphabet):
        if count == 0:
            return []
        tag = self.byte()
        if tag == 0:
            width = (alphabet - 1).bit_length()
            bits = Bits(self.raw((count * width + 7) // 8))
            return [bits.get(width) for _ in range(count)]
        if tag == 1:
            return [self.varint()] * count
        return rans(self.raw(self.varint()), count, alphabet, {2: 1, 3: 4}[tag])


# Structure ------------------------------------------------------------------------------------


@dataclass
class Array:
    kind: str  # integers, mask, floats
    layout: tuple  # rows, channels, height, width
    under: Array | None
    detail: int = 0  # states of the trellis, or bits of a float
    values: list = field(default_factory=list)
    labelled: tuple = ()  # arrays of the labels of rows and of columns, blocks of columns
    cut: int = 0  # rows of a row group, if they do not follow from the layout

    def labels(self, where):
        """Of the values in a slice, which is a row group."""
        rows, columns, blocks = self.labelled
        channels, taps = self.layout[1], self.layout[2] * self.layout[3]
        group = where.start // (channels * taps) // group_rows(self)
        return [
            rows.values[place // taps // channels] * blocks
            + columns.values[group * channels + place // taps % channels]
            for place in range(where.start, where.stop)
        ]

    def __post_init__(self):
        self.values = [0] * math.prod(self.layout)

    def visible(self):
        if self.under is None:
            return self.values
        return [v for v, kept in zip(self.values, self.under.values, strict=True) if kept]


@dataclass
class Marked:
    """A mask of weights that follows from one of blocks."""

    layout: tuple
    sides: list
    blocks: Array

    @property
    def values(self):
        counts = self.blocks.layout
        return [
            self.blocks.values[
                functools.reduce(
                    lambda at, axis: at * counts[axis] + place[axis] // self.sides[axis],
                    range(4),
                    0,
                )
            ]
            for place in itertools.product(*map(range, self.layout))
        ]

    def visible(self):
        return self.values


def layout_of(shape):
    if len(shape) < 2:
        return 1, math.prod(shape), 1, 1
    return shape[0], shape[1], math.prod(shape[2:-1]), shape[-1] if len(shape) > 2 else 1


def whole(shape, labelled=()):
    """Where a form sits that is not under a mask."""
    return shape, layout_of(shape), None, labelled


@dataclass
class Tensor:
    shape: list
    arrays: list = field(default_factory=list)
    parts: list = field(default_factory=list)  # (tag, array, detail)

    @classmethod
    def read(cls, body):
        tag, rank = divmod(body.varint(), 16)
        tensor = cls([body.varint() for _ in range(rank)])
        waiting = [whole(tensor.shape)]  # where forms sit
        if tag == 14:
            waiting = [whole(tensor.shape, tensor.read_labels(body))]
            tag = body.varint()
        while waiting:
            shape, layout, mask, labelled = waiting.pop()
            tag = body.varint() if tensor.parts else tag
            kind, detail, extra = "floats", 32 if tag == 0 else 16, None
            if tag == 2:
                extra, kind, detail = body.varint(), "integers", 0
            elif tag == 3:
                kind, detail = "mask", 0
            elif tag == 4:
                head = body.byte()
                step = body.raw(4) if head & 8 else b"\0\0" + body.raw(2)
                extra, kind = struct.unpack("<f", step)[0], "integers"
                detail = (0, 8, 32, 64)[head & 7]
            elif tag == 7:
                seed = int.from_bytes(body.raw(4), "little")
                extra = seed, [body.varint() for _ in range(body.varint())], layout, mask
            elif tag == 8:
                extra, kind, detail = body.varint(), "integers", 0
            elif tag in (9, 10):
                extra = body.varint(), body.varint(), body.varint()
            elif tag == 11:
                head = body.byte()
                step = body.raw(4) if head & 64 else b"\0\0" + body.raw(2)
                side, columns = head % 64 + 1, math.prod(layout[1:])
                count = -(-layout[0] // side) * -(-columns // side)
                blocks = Array("integers", (1, count, 1, 1), None)
                tensor.arrays.append(blocks)
                extra = struct.unpack("<f", step)[0], side, columns, blocks
                kind, detail = "integers", 0
            elif tag == 13:
                (rank, second), (outputs, inputs, *taps) = (body.varint(), body.varint()), shape
                extra = rank, second, taps
            array = None
            if tag == 12:
                sides = [body.varint() for _ in range(4)]
                counts = [math.ceil(n / side) for n, side in zip(layout, sides, strict=True)]
                tensor.arrays.append(Array("mask", tuple(counts), None))
                array = tensor.arrays[-1].marks = Marked(layout, sides, tensor.arrays[-1])
            elif tag not in (5, 6, 7, 9, 10, 13):
                own = layout_of(shape[:-2]) if tag == 8 else layout
                array = Array(kind, own, mask, detail)
                array.labelled = labelled if tag != 8 else ()
                tensor.arrays.append(array)
            tensor.parts.append((tag, array, extra, shape))
            if tag == 2:
                waiting.append(whole([extra]))
            elif tag in (3, 12):
                waiting.append(([None], layout, array, labelled))
            elif tag in (5, 9, 10):
                waiting.append((shape, layout, mask, labelled))
            elif tag == 6:  # the last one is read first
                waiting += [whole(shape[:1]), whole(shape, labelled)]
            elif tag == 7:
                waiting.append(whole([sum(extra[1])]))
            elif tag == 8:
                waiting += [whole(shape, labelled), whole([extra, *shape[-2:]])]
            elif tag == 13 and second:
                columns = whole([inputs, second - 1])
                waiting += [columns, whole([rank, second - 1, *taps]), whole([outputs, rank])]
            elif tag == 13:
                waiting += [whole([rank, inputs, *taps]), whole([outputs, rank])]
        return tensor

    def read_labels(self, body):
        """Arrays of the labels of rows and of columns, and the number of blocks of columns."""
        rows, channels, *kernel = layout_of(self.shape)
        _, blocks = body.varint(), body.varint()
        cut = math.ceil(2**16 / (channels * math.prod(kernel)))
        self.arrays = [
            Array("labels", (rows, 1, 1, 1), None, cut=cut),
            Array("labels", (math.ceil(rows / cut), channels, 1, 1), None, cut=1),
        ]
        return *self.arrays, blocks

    def weights(self, parts=None):
        """The numbers of the next part and of what is inside it: a flat list."""
        parts = parts or iter(self.parts)
        tag, array, extra, shape = next(parts)
        if tag < 2:
            letters = "If" if tag == 0 else "He"
            return [
                struct.unpack("<" + letters[1], struct.pack("<" + letters[0], pattern))[0]
                for pattern in array.visible()
            ]
        if tag == 4:
            levels = array.visible() if not array.detail else trellis(array)
            return [float32(level * extra) for level in levels]
        if tag == 11:
            return planes_restored(array.values, *extra)
        inner = self.weights(parts)
        if tag in (9, 10):
            height, width, detail = extra
            restored, size = lapped if tag == 9 else wavelet, height * width
            images = [inner[first : first + size] for first in range(0, len(inner), size)]
            return [weight for image in images for weight in restored(image, height, width, detail)]
        if tag == 2:
            table = ranked(inner)
            return [table[rank] for rank in array.visible()]
        if tag in (3, 12):
            values = iter(inner)
            return [next(values) if kept else 0.0 for kept in array.visible()]
        if tag == 6:
            scales = self.weights(parts)
            return [float32(v * scales[p * len(scales) // len(inner)]) for p, v in enumerate(inner)]
        if tag == 7:
            seed, budgets, layout, mask = extra
            count = sum(mask.values) if mask else math.prod(layout)
            return shared_by_hash(count, shape[-2:], inner, seed, budgets)
        if tag == 8:
            taps = math.prod(shape[-2:])
            shared = [v for k in array.values for v in inner[k * taps : (k + 1) * taps]]
            residual = self.weights(parts)
            return [float32(a + b) for a, b in zip(shared, residual, strict=True)]
        if tag == 13:
            core = self.weights(parts)
            return product(inner, core, self.weights(parts) if extra[1] else None, shape, *extra)
        return transformed(inner, *shape[-2:])


# Chunks ---------------------------------------------------------------------------------------


def group_rows(array):
    while isinstance(array, Array) and array.under:
        array = array.under
    if getattr(array, "cut", 0):
        return array.cut
    marked = getattr(array, "marks", array)  # a mask of blocks is cut where what it marks is
    rows = math.ceil(2**16 / math.prod(marked.layout[1:]))
    if not isinstance(marked, Marked):
        return rows
    height = marked.sides[0]
    rows += -rows % height
    return rows // height if marked is not array else rows


def chunks_of(tensors, target):
    """Lists of (array, first row, rows)."""
    chunks, current, held = [], [], 0
    for tensor in tensors:
        full = [array for array in tensor.arrays if array.values]
        counts = [math.ceil(array.layout[0] / group_rows(array)) for array in full]
        for group in range(max(counts, default=0)):
            for array, count in zip(full, counts, strict=True):
                if group < count:
                    rows = group_rows(array)
                    first = group * rows
                    rows = min(rows, array.layout[0] - first)
                    current.append((array, first, rows))
                    held += rows * math.prod(array.layout[1:])
            if held >= 2**target:
                chunks.append(current)
                current, held = [], 0
    return [*chunks, current] if current else chunks


def instant(data, pieces):
    body = Body(data)
    for array, first, rows in pieces:
        columns = math.prod(array.layout[1:])
        where = range(first * columns, (first + rows) * columns)
        if array.under:
            under = array.under.values
            where = [place for place in where if under[place]]
            rows, columns = 1, len(where)
        if array.kind == "integers":
            found = integers(body, len(where))
        elif array.kind == "labels":
            largest = body.varint()
            found = body.stream(len(where), largest + 1) if largest else [0] * len(where)
        elif array.kind == "mask":
            found = mask(body, rows, columns)
        else:
            planes = [body.stream(len(where), 256) for _ in range(array.detail // 8)]
            found = [
                int.from_bytes(bytes(number), "little") for number in zip(*planes, strict=True)
            ]
        for place, value in zip(where, found, strict=True):
            array.values[place] = value
    assert body.at == len(data)


def integers(body, count):
    largest = body.varint()
    symbols = [0] * count
    if 0 < largest < 4096:
        symbols = body.stream(count, largest + 1)
    elif largest:
        for j in range((largest.bit_length() + 7) // 8):
            plane = body.stream(count, min(largest // 256**j, 255) + 1)
            symbols = [a + b * 256**j for a, b in zip(symbols, plane, strict=True)]
    return [-(s + 1) // 2 if s % 2 else s // 2 for s in symbols]


def mask(body, rows, columns):
    kind = body.byte()
    step, by_columns = 2 ** (kind % 16), kind // 16
    count, escapes = body.varint(), body.varint()
    position, found = 0, [0] * (rows * columns)
    for symbol in body.stream(count + escapes, step + 1):
        position += symbol
        if symbol < step:
            place = position % rows * columns + position // rows if by_columns else position
            found[place] = 1
            position += 1
    return found


def adaptive(preset, data, pieces):
    calls = []
    for array, first, rows in pieces:
        columns = math.prod(array.layout[1:])
        where = slice(first * columns, (first + rows) * columns)
        calls.append((array, where, (rows, *array.layout[1:])))
    reference_context.decode(preset, data, calls)


# Weights --------------------------------------------------------------------------------------


def murmur(seed, index):
    """MurmurHash3 of four bytes."""
    k = index * 0xCC9E2D51 % 2**32
    k = (k << 15 | k >> 17) % 2**32 * 0x1B873593 % 2**32
    h = seed ^ k
    h = ((h << 13 | h >> 19) % 2**32 * 5 + 0xE6546B64) % 2**32 ^ 4
    h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
    h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


def shared_by_hash(count, kernel, values, seed, budgets):
    weights = []
    for index in range(count):
        band = 0
        if len(budgets) > 1:
            row, column = divmod(index % math.prod(kernel), kernel[1])
            band = row + column
        place = sum(budgets[:band]) + murmur(seed, index) * budgets[band] // 2**32
        negative = murmur(seed ^ 0xFFFFFFFF, index) >= 2**31
        weights.append(-values[place] if negative else values[place])
    return weights


def float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def trellis(array):
    a, b = {8: (5, 2), 32: (18, 4), 64: (33, 10)}[array.detail]
    columns = math.prod(array.layout[1:])
    state, levels = 0, []
    for place, k in enumerate(array.values):
        if place % (columns * group_rows(array)) == 0:
            state = 0
        odd = state % 2
        levels.append(2 * k - odd * ((k > 0) - (k < 0)))
        branch = k % 2 ^ (odd and k < 0)
        state = state // 2 ^ (a if odd else 0) ^ (b if branch else 0)
    return levels


def ranked(centroids):
    order = sorted(range(len(centroids)), key=lambda index: centroids[index])
    negative = sum(value < 0 for value in centroids)
    shift = 0 if 0 in centroids else 1
    table = {}
    for place, index in enumerate(order):
        rank = place - negative
        table[rank + (shift if rank >= 0 else 0)] = centroids[index]
    return table


@functools.cache
def basis(n, u, x):
    exact = math.sqrt((2 if u else 1) / n) * math.cos(math.pi * (2 * x + 1) * u / (2 * n))
    return round(exact * 2**30) / 2**30


def transformed(c, height, width):
    def synthesis(terms, n, x):
        total = basis(n, 0, x) * terms[0]
        for u in range(1, n):
            total += basis(n, u, x) * terms[u]
        return total

    out = []
    for start in range(0, len(c), height * width):
        kernel = c[start : start + height * width]
        t = [[synthesis(kernel[v::width], height, y) for v in range(width)] for y in range(height)]
        out += [float32(synthesis(t[y], width, x)) for y in range(height) for x in range(width)]
    return out


def product(rows, core, columns, shape, rank, second, taps):
    outputs, inputs, width = shape[0], shape[1], math.prod(taps)

    def total(terms):
        return functools.reduce(operator.add, terms) if terms else 0.0

    def of_input(a, i, k):
        if columns is None:
            return core[(a * inputs + i) * width + k]
        s = second - 1
        return total([core[(a * s + b) * width + k] * columns[i * s + b] for b in range(s)])

    right = {
        (a, i, k): of_input(a, i, k)
        for a in range(rank)
        for i in range(inputs)
        for k in range(width)
    }
    return [
        float32(total([rows[o * rank + a] * right[a, i, k] for a in range(rank)]))
        for o in range(outputs)
        for i in range(inputs)
        for k in range(width)
    ]


def planes_restored(levels, step, side, columns, blocks):
    across = -(-columns // side)
    weights = []
    for place, level in enumerate(levels):
        row, column = divmod(place, columns)
        lacks = blocks.values[row // side * across + column // side]
        size = (abs(level) + 0.5) * 2**lacks * step if level else 0.0
        weights.append(float32(-size if level < 0 else size))
    return weights


@functools.cache
def exact_cosine(numerator, denominator):
    """cos(pi * numerator / denominator), rounded once."""
    with decimal.localcontext() as context:
        context.prec = 60
        pi = decimal.Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
        angle = pi * (numerator % (2 * denominator)) / denominator
        term, total, order = decimal.Decimal(1), decimal.Decimal(1), 0
        while abs(term) > decimal.Decimal("1e-55"):
            order += 2
            term = -term * angle * angle / (order * (order - 1))
            total += term
        return float(total)


def by_lines(image, height, width, line):
    """Every column and then every row, restored."""
    columns = [line(image[x::width]) for x in range(width)]
    rows = [line([columns[x][y] for x in range(width)]) for y in range(height)]
    return [number for row in rows for number in row]


def lapped(image, height, width, block):
    def samples(c):
        m = len(c)
        if m == 1:
            return c
        root = math.sqrt(2 / m)
        terms = (
            [
                c[k] * (root * exact_cosine((2 * k + 1) * (2 * x + 1) % (8 * m), 4 * m))
                for k in range(m)
            ]
            for x in range(m)
        )
        return [functools.reduce(operator.add, row) for row in terms]

    def line(c):
        cuts = [*range(0, len(c), block), len(c)]
        u = [x for first, last in itertools.pairwise(cuts) for x in samples(c[first:last])]
        out = list(u)
        for before, b, behind in zip(cuts, cuts[1:], cuts[2:], strict=False):
            v = min(b - before, behind - b) // 2
            for i in range(v):
                s = exact_cosine(4 * v - (2 * v + 2 * i + 1), 8 * v)
                k = exact_cosine(2 * v + 2 * i + 1, 8 * v)
                out[b - 1 - i] = s * u[b - 1 - i] + k * u[b + i]
                out[b + i] = s * u[b + i] - k * u[b - 1 - i]
        return out

    return [float32(x) for x in by_lines(image, height, width, line)]


WAVELETS = (  # factors, and norms of the low and the high bands
    (
        (-0.5, 0.25),
        (80265, 108679, 151939, 214249, 302772, 428105, 605405, 856162),
        (55561, 62924, 82532, 114322, 160817, 227125, 321095, 454059),
    ),
    (
        (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971),
        (74696, 87927, 102130, 117764, 135490, 155791, 179107, 205905),
        (58149, 64453, 76819, 89806, 103755, 119433, 137346, 157907),
    ),
)


def wavelet(image, height, width, detail):
    kind, levels = divmod(detail, 16)
    factors, low, high = WAVELETS[kind]

    def halves(n):
        found = [n]
        for _ in range(levels):
            found.append(-(-found[-1] // 2))
        return found

    def norm(sizes, level, place):
        splits = sum(n > 1 for n in sizes[: level + 1])
        if not splits:
            return 1.0
        above = sizes[level] > 1 and place >= sizes[level + 1]
        return (high if above else low)[splits - 1] / 2**16

    def line(c):
        if len(c) == 1:
            return c
        s, d = c[: -(-len(c) // 2)], c[-(-len(c) // 2) :]
        for place, f in reversed(list(enumerate(factors))):
            if place % 2 == 0:
                d = [x - f * (s[i] + s[min(i + 1, len(s) - 1)]) for i, x in enumerate(d)]
            else:
                s = [x - f * (d[max(i - 1, 0)] + d[min(i, len(d) - 1)]) for i, x in enumerate(s)]
        return [x for pair in itertools.zip_longest(s, d) for x in pair if x is not None]

    down, across = halves(height), halves(width)
    grid = [image[y * width : (y + 1) * width] for y in range(height)]
    for y in range(height):
        for x in range(width):
            level = max(k for k in range(levels) if y < down[k] and x < across[k])
            grid[y][x] /= norm(down, level, y) * norm(across, level, x)
    for k in range(levels - 1, -1, -1):
        part = [number for row in grid[: down[k]] for number in row[: across[k]]]
        part = by_lines(part, down[k], across[k], line)
        for y in range(down[k]):
            grid[y][: across[k]] = part[y * across[k] : (y + 1) * across[k]]
    return [float32(x) for row in grid for x in row]


# Files ----------------------------------------------------------------------------------------


def dictionary():
    block = PAGE.partition("text is deflated with a preset dictionary")[2]
    return re.search(r"```text\n(.*?)\n```", block, re.S)[1].replace("\n", "").encode()


def read(data):
    """The metadata's text, and the weights of every tensor: flat lists."""
    body = Body(data)
    assert body.raw(5) == b"\x89RET\x02"
    deflated, inflated, head, section, weights = (body.varint() for _ in range(5))
    text = zlib.decompressobj(-15, zdict=dictionary()).decompress(body.raw(deflated))
    assert len(text) == inflated and body.at + section == len(data)
    body, chunks = Body(body.raw(head)), Body(data[body.at + 4 :])
    kind = body.byte()
    length = body.varint()
    packed = body.raw(body.varint() if kind & 4 else length)
    structure = Body(zlib.decompress(packed, -15) if kind & 4 else packed)
    tensors = []
    while structure.at < length:
        tensors.append(Tensor.read(structure))
    for pieces in chunks_of(tensors, kind // 8):
        length, is_instant = divmod(body.varint(), 2)
        payload = chunks.raw(length)
        assert chunks.raw(4) == zlib.crc32(payload).to_bytes(4, "little")
        if is_instant or kind % 4 == 0:
            instant(payload, pieces)
        else:
            adaptive(kind % 4 - 1, payload, pieces)
    assert body.at == head and chunks.at == len(chunks.data)
    found = [tensor.weights() for tensor in tensors]
    assert sum(map(len, found)) == weights
    return text, found


def check(data, forms):
    found = read(data)[1]
    for (name, form), flat in zip(forms.items(), found, strict=True):
        assert struct.pack(f"<{form.size}f", *flat) == form.dense().astype("<f4").tobytes(), name


def test_the_dictionary_of_the_page_is_the_codecs():
    assert dictionary() == DICTIONARY


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_a_reader_written_from_the_specification_agrees(path):
    check(path.read_bytes(), load(path).packed.forms)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_agrees_on_files_of_many_chunks(preset):
    for packed, data in zip(*files_of_many_chunks(preset), strict=True):
        check(data, packed.forms)


@pytest.mark.parametrize("preset", [0, 1])
def test_it_agrees_on_what_models_learn_over_several_arrays(preset):
    """Enough values for every model to be halved, and for profiles to be carried over."""
    rng = np.random.default_rng(0)
    smooth = 3 * rng.normal(size=(24, 12, 1, 1)) * np.ones((3, 3)) + rng.normal(size=(24, 12, 3, 3))
    rows = rng.normal(size=(30, 50)) * np.exp(rng.normal(size=(30, 1)))
    halves = rng.normal(size=300).astype("f2")
    halves[:4] = [0.0, -0.0, 6e-8, -65504]
    forms: dict[str, Form] = {
        "smooth": Quantised(np.rint(smooth).astype(int), 1.0),
        "path": quantised(rng, (12, 16, 3, 3), 64, 1.0),
        "rows": Quantised(np.rint(rows).astype(int), 1.0),
        "same rows": Quantised(np.rint(20 * rows).astype(int), 1.0),
        "wide": quantised(rng, (6, 5, 7, 7), 0, 200.0),
        "noise": Quantised(rng.integers(-(1 << 24), 1 << 24, 40), 1.0),
        "floats": Dense((rng.normal(size=(20, 20)) ** 3).astype("f4")),
        "halves": Dense(halves),
        "few": Dense(np.array([0.1, -0.3, 1e-40, 7.0], "f4")[rng.integers(0, 4, (20, 20))]),
        "kept": Sparse.at(rng.random((9, 4, 3, 3)) < 2, Dense(rng.normal(size=324).astype("f4"))),
    }
    arrays = Writer()
    for form in forms.values():
        write_form(form, arrays)
    data, _ = AdaptiveCoder(preset).encode([Piece.of(array, 0) for array in arrays.arrays])
    calls, found = [], []
    for array in arrays.arrays:
        shape = (array.layout.rows, array.layout.channels, array.layout.height, array.layout.width)
        under = None if array.mask is None else found[[*arrays.arrays].index(array.mask)]
        detail = 8 * array.data.itemsize if array.kind.value == "floats" else array.states
        found.append(Array(array.kind.value, shape, under, detail))
        calls.append((found[-1], slice(0, len(found[-1].values)), shape))
    reference_context.decode(preset, data, calls)
    for array, other in zip(arrays.arrays, found, strict=True):
        assert array.data.tolist() == other.values


def test_it_agrees_on_transforms_and_bit_planes():
    packed = transformed_forms()
    check(dumps(packed, About(), "instant"), packed.forms)


def test_it_agrees_on_a_path_over_several_row_groups():
    packed = packed_of({"w": quantised(np.random.default_rng(0), (70, 2000), 8, 0.2)})
    check(dumps(packed, About(), "instant"), packed.forms)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_agrees_on_labels_in_every_preset(preset):
    """Of which the writer uses one."""
    packed = SAMPLES["labelled"]()
    with patch.object(section, "HINTED", preset):
        data = dumps(packed, About(), preset)
    assert set(loads(data).packed.hints) == set(packed.hints)
    check(data, packed.forms)


def test_it_agrees_on_labels_over_several_row_groups():
    rng = np.random.default_rng(0)
    mask = rng.random((70, 500, 2, 2)) < 0.01  # row groups of 33 rows
    form = Sparse.at(mask, quantised(rng, (int(mask.sum()),)))
    labels = BlockLabels(rng.integers(0, 3, 70), rng.integers(0, 5, 500))
    written = Writer()
    write_form(form, written, labels)
    tensor = Tensor.read(Body(written.structure.bytes()))
    for array, other in zip(written.arrays, tensor.arrays, strict=True):
        other.values = array.data.tolist()
    pieces = [piece for chunk in plan([written.arrays], 1 << 17) for piece in chunk]
    others = [piece for chunk in chunks_of([tensor], 17) for piece in chunk]
    assert len(pieces) == 3 * 4
    for piece, (array, first, rows) in zip(pieces, others, strict=True):
        columns = math.prod(array.layout[1:])
        assert (piece.first, piece.layout.rows) == (first * columns, rows)
        if array.labelled:
            where = slice(first * columns, (first + rows) * columns)
            assert piece.labels.tolist() == array.labels(where)


@pytest.mark.parametrize("count", [1, 7, 300, 30_003])
@pytest.mark.parametrize("alphabet", [2, 5, 256, 300, 4096])
def test_it_agrees_on_single_streams(count, alphabet):
    rng = np.random.default_rng(count)
    for spread in (0.05, 1.0):
        symbols = rng.choice(alphabet, count, p=rng.dirichlet(np.full(alphabet, spread)))
        body = Body(streams.encode(symbols, alphabet))
        assert body.stream(count, alphabet) == symbols.tolist()
        assert body.at == len(body.data)
