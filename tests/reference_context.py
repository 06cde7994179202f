"""The decoder of adaptive chunks, written from docs/format.md alone, in plain Python.

Slow and without checks, but for those of the end of a payload.  ``decode`` fills the
arrays of a chunk; ``test_codec_reference.py`` compares them with the codec's.
"""

from __future__ import annotations

import functools
import math

LOG2T = [round(256 * math.log2(1 + i / 256)) for i in range(256)]
EXP2T = [round(2 ** (16 + i / 256)) for i in range(256)]
LOGISTIC = [round(65536 / (1 + math.exp(-j / 8))) for j in range(89)]
SHARE = [131072 // (2 * n + 3) for n in range(1024)]
NOTHING = 0


def clamp(x, a, b):
    return min(max(x, a), b)


def div(a, b):
    return -(-a // b) if a < 0 else a // b


def log2(x):
    e = x.bit_length() - 1
    t = x << (8 - e) if e <= 8 else x >> (e - 8)
    return 256 * e + LOG2T[t % 256]


@functools.cache
def exp2(x):
    x = clamp(x, 0, 10495)
    return EXP2T[x % 256] * 2 ** (x >> 8) >> 16


INVERSE = [2**30 // (4096 + exp2(16 * i + 8)) for i in range(481)]


@functools.cache
def squash(x):
    j, t = abs(x) >> 5, abs(x) % 32
    above = LOGISTIC[min(j + 1, 88)]
    total = LOGISTIC[j] + (((above - LOGISTIC[j]) * t + 16) >> 5)
    return min(65535, total) if x >= 0 else 65536 - total


STRETCH = []
for _i in range(4096):
    _x = STRETCH[-1] if STRETCH else -2815
    while _x < 2815 and squash(_x) < 16 * _i + 8:
        _x += 1
    STRETCH.append(_x)


def group(v):
    return sum(limit <= abs(v) for limit in (8, 20, 40, 70, 110, 170, 260))


class Range:
    def __init__(self, data):
        self.data, self.at = data, 0
        self.range = 2**64 - 1
        self.offset = self.take(8)

    def take(self, count):
        found = self.data[self.at : self.at + count].ljust(count, b"\0")
        self.at += count
        return int.from_bytes(found, "big")

    def renew(self):
        if self.range < 2**32:
            self.range <<= 32
            self.offset = (self.offset << 32 | self.take(4)) % 2**64

    def bit(self, p):
        bound = (self.range >> 16) * p
        bit = self.offset < bound
        if bit:
            self.range = bound
        else:
            self.offset -= bound
            self.range -= bound
        self.renew()
        return int(bit)

    def plain(self, n):
        self.range >>= n
        v = min(self.offset // self.range, 2**n - 1)
        self.offset -= v * self.range
        self.renew()
        return v

    def wide(self, n):
        value = 0
        while n:
            piece = min(n, 16)
            value = value << piece | self.plain(piece)
            n -= piece
        return value

    def finish(self):
        assert not self.data or self.data[-1]
        assert self.at >= len(self.data)
        last = int.from_bytes(self.data[self.at - 8 : self.at].ljust(8, b"\0"), "big")
        low = (last - self.offset) % 2**64
        for kept in range(9):
            unit = 2 ** (8 * (8 - kept))
            r = -(-low // unit) * unit
            if r <= low + self.range - 1:
                break
        assert r % 2**64 == last


class Counter:
    def __init__(self, p=None, n=0):
        self.p, self.n = (2**21, 0) if p is None else (64 * p, n)

    @property
    def p16(self):
        return self.p >> 6

    def learn(self, bit, limit):
        target = 2**22 - 1 if bit else 0
        self.p += (target - self.p) * SHARE[self.n] >> 16
        self.n += self.n < limit


def dot(w, x):
    return sum(a * b for a, b in zip(w, x, strict=True)) >> 14


def nudge(w, x, s):
    for i, value in enumerate(x):
        w[i] = clamp(w[i] + ((((value * s) >> 16) + 1) >> 1), -32768, 32767)


class LeastSquares:
    def __init__(self):
        self.a = [[0] * 11 for _ in range(11)]
        self.b, self.e = [0] * 11, [0] * 11
        self.samples = self.next = 0

    def halve(self):
        self.samples >>= 1
        self.a = [[value >> 1 for value in row] for row in self.a]
        self.b = [value >> 1 for value in self.b]

    def learn(self, x, t):
        for i in range(11):
            self.b[i] += x[i] * t
            for j in range(11):
                self.a[i][j] += x[i] * x[j]
        self.samples += 1
        if self.samples == 1024:
            self.halve()
        k, self.next = self.next, (self.next + 1) % 11
        row = self.a[k]
        rest = (self.b[k] << 16) - sum(p * q for p, q in zip(row, self.e, strict=True))
        rest += row[k] * self.e[k]
        self.e[k] = clamp(div(rest, row[k] + 2**20), -131072, 131071)


FIRST_SCALE = [8192, 7373, 3277, 6554, 6554, 2458, 0, 4915] + [0] * 8
SETS = [  # limit, contexts
    (1000, 2048), (255, 512), (255, 1024), (255, 512), (1000, 128), (250, 256), (250, 1024),
    (1000, 1024),
]  # fmt: skip


def below(j, t, v):
    return squash(clamp((2048 * j - t) * v >> 20, -2815, 2815))


def beyond(j, t, v, negative):
    return below(-j, t, v) if negative else 65536 - below(j, t, v)


def chance(a, b):
    return clamp(4096 * a // b, 1, 4095)


def first_counter(number, context, node):
    """A counter as it is before anything has been learned."""
    node %= 16
    if number > 4 or node == 1 or node > 10:
        return Counter()
    log = [
        1552 + 32 * (context >> 4),
        2432 + 256 * (context % 8),
        1664 + 256 * (context >> 6),
        2432 + 256 * (context % 8),
        1552 + 32 * context,
    ][number]
    v, count = exp2(7388 - log), 6 if number in (0, 4) else 2
    if node == 0:
        return Counter(65536 - clamp(below(1, 0, v) - below(-1, 0, v), 16, 65520), count)
    h = max(0, div(log - 3072, 256) - 1)
    a = 1 + (node - 2) * 2**h
    b = a + 2**h
    far, near = beyond(2 * b - 1, 0, v, False), beyond(2 * a - 1, 0, v, False)
    return Counter(16 * chance(far, near), count)


class Model:
    """Everything that is kept from array to array."""

    def __init__(self, is_small):
        self.is_small = is_small
        width = 16 if is_small else 8
        self.scale = [FIRST_SCALE[:width] for _ in range(17)]
        self.residual = [FIRST_SCALE[:] for _ in range(17)]
        self.mean = [LeastSquares() for _ in range(17)]
        self.c1, self.r1, self.c2, self.r2 = [], [], [], []
        self.sets = 8 if is_small else 3
        self.counters = {}
        self.mixers = [{} for _ in range(2 if is_small else 1)]
        self.table = {}
        self.flags = [Counter() for _ in range(33)]

    def counter(self, number, context, node):
        key = number, context, node
        if key not in self.counters:
            self.counters[key] = first_counter(*key)
        return self.counters[key]

    def mixer(self, number, node, selector):
        first = (
            [1250] * 8 + [0, 5500, 5500, 8000] + [0] * 4 if self.is_small else [10000, 2000, 2000]
        )
        first += [0] * (16 if self.is_small else 8)
        return self.mixers[number].setdefault((node, selector), first[: 16 if self.is_small else 8])


class Integers:
    """An array that is being decoded."""

    def __init__(self, coder, model, layout, mask, states, is_signed, labels=None):
        self.coder, self.model, self.mask = coder, model, mask
        self.labels = labels if model.is_small else None
        self.of_labels = {}
        self.rows, self.channels, self.height, self.width = layout
        self.taps = self.height * self.width
        self.columns = self.channels * self.taps
        self.states, self.is_signed = states, is_signed
        self.values = [0] * (self.rows * self.columns)
        self.levels = [0] * len(self.values)
        self.units = [0] * len(self.values)

    def decode(self):
        if not self.values:
            return self.values
        if self.coder.bit(64):
            self.raw()
        else:
            self.modelled()
        return self.values

    def raw(self):
        width = self.coder.plain(5)
        for i in range(len(self.values)):
            if self.mask is None or self.mask[i]:
                u = self.coder.wide(width)
                if self.is_signed:
                    u = -((u + 1) // 2) if u % 2 else u // 2
                self.values[i] = u

    def modelled(self):
        d = self.coder.plain(5)
        self.bound = 2**d - 1
        if d > 2:
            self.bound = (5 + self.coder.plain(2)) * 2 ** (d - 3) - 1
        model, rows, channels, taps = self.model, self.rows, self.channels, self.taps
        for mean in model.mean:
            while mean.samples > 150:
                mean.halve()
        size = len(self.values)
        prior = max(1, (self.bound + 1) * 2**18 // (44 * size.bit_length() + 64))
        self.total = self.count = state = 0
        self.row_sum, self.row_part = [0] * rows, [0] * rows
        self.channel_sum, self.column_sum = [0] * channels, [0] * self.columns
        self.position_sum = [0] * taps
        self.row_count, self.channel_count = [0] * rows, [0] * channels
        self.column_count, self.position_count = [0] * self.columns, [0] * taps
        self.row_units = [0] * taps  # at each position, in the present row
        self.column_units = [0] * self.columns
        for r in range(rows):
            row_units = [0] * taps
            for c in range(channels):
                self.g = log2(4096 * self.total + 8 * prior) - log2(self.count + 8)
                self.m = max(1, exp2(self.g))
                self.kernel_sum = self.distances = 0
                before = [
                    (self.row_sum[r], self.row_count[r]),
                    (self.channel_sum[c], self.channel_count[c]),
                ]
                for p in range(taps):
                    i = (r * channels + c) * taps + p
                    stored = self.mask is None or self.mask[i]
                    if stored:
                        self.features(r, c, p, i, before, row_units)
                        self.values[i] = self.value(r, c, p, i, state)
                    k = self.values[i]
                    level = k
                    if self.states:
                        odd = state % 2
                        level = 2 * k - odd * ((k > 0) - (k < 0))
                        branch = k % 2 ^ (1 if odd and k < 0 else 0)
                        a, b = {8: (5, 2), 32: (18, 4), 64: (33, 10)}[self.states]
                        state = state // 2 ^ (a if odd else 0) ^ (b if branch else 0)
                    if stored:
                        self.learn(r, c, p, i, level)
                        row_units[p] += self.units[i]
            self.row_part[r] = self.part(self.row_sum[r], self.row_count[r])
        model.c2, model.r2 = model.c1, model.r1
        model.r1 = self.row_part
        model.c1 = [
            self.part(s, n) for s, n in zip(self.channel_sum, self.channel_count, strict=True)
        ]

    def part(self, s, n):
        return clamp(log2(4096 * s + 4096) - log2(n + 1) - self.g, -1024, 1024)

    def ratio(self, s, a, log):
        return clamp(log2(4096 * s + a * self.m) - log - self.g, -1536, 1536)

    def magnitude(self, i):
        return 0 if i is None else min(abs(self.levels[i]), 65535)

    def unit(self, i):
        return 0 if i is None else self.units[i]

    def features(self, r, c, p, i, before, row_units):
        model, taps, width = self.model, self.taps, self.width
        y, x = divmod(p, width)
        self.left = i - 1 if x else None
        self.up = i - width if y else None
        self.place = 16 if taps == 1 else min(p, 15)
        neighbours = [n for n in (self.left, self.up) if n is not None]
        near = sum(self.magnitude(n) for n in neighbours)
        f = [
            *(self.ratio(s, 8, log2(n + 8)) for s, n in before),
            self.ratio(self.column_sum[c * taps + p], 2, log2(self.column_count[c * taps + p] + 2)),
            self.ratio(self.position_sum[p], 16, log2(self.position_count[p] + 16)),
            self.ratio(self.kernel_sum, 2, log2(p + 2)),
            self.ratio(near, 1, (0, 256, 406)[len(neighbours)]),
            model.c2[c] if len(model.c2) == self.channels else 0,
            model.r1[c] if len(model.r1) == self.channels else 0,
        ]
        if model.is_small:
            f.append(model.r2[r] if len(model.r2) == self.rows else 0)
            f.append(model.c1[r] if len(model.c1) == self.rows else 0)
            f += [0] * 6
        self.f = f
        self.log = clamp(self.g + dot(model.scale[self.place], f), 0, 7680)
        self.scale = exp2(self.log)
        self.inputs(r, c, p, i, y, x, row_units)
        weights = [e >> 2 for e in model.mean[self.place].e]
        self.z = clamp(dot(weights, self.x), -1023, 1023)
        if model.is_small:
            self.centre = self.z * max(self.scale, 64) >> 8
            self.f2 = f[:]
            self.f2[10] = self.ratio(self.distances, 2, log2(p + 2))
            self.f2[11] = clamp(log2(abs(self.z)) - 1536, -512, 1024) if self.z else -512
            self.f2[12] = 256
            spread = dot(model.residual[self.place], self.f2)
            self.log_spread = clamp(self.g + spread, 2048, 7680)
            self.spread = exp2(self.log_spread)

    def inputs(self, r, c, p, i, y, x, row_units):
        taps, columns = self.taps, self.columns
        found = [0] * 11
        if taps == 1:
            found[0] = self.units[i - 1] if c >= 1 else 0
            found[1] = self.units[i - 2] if c >= 2 else 0
            found[2] = self.units[i - columns] if r else 0
            found[3] = self.units[i - columns - 1] if r and c else 0
        elif taps <= 9:
            for j in range(min(p, 8)):
                found[j] = self.units[i - p + j]
        else:
            steps = [(0, -1), (0, -2), (-1, 0), (-1, -1), (-1, 1), (-2, 0), (-1, 2), (-1, -2)]
            for j, (dy, dx) in enumerate(steps):
                if y + dy >= 0 and 0 <= x + dx < self.width:
                    found[j] = self.units[i + dy * self.width + dx]
        part = 65536 // (min(c, 65533) + 2)
        found[8] = clamp(row_units[p] * part >> 16, -1023, 1023)
        part = 65536 // (min(r, 65533) + 2)
        found[9] = clamp(self.column_units[c * taps + p] * part >> 16, -1023, 1023)
        found[10] = 64
        self.x = found

    def learn(self, r, c, p, i, n):
        model = self.model
        self.levels[i] = n
        m = min(abs(n), 65535)

        def error(a, b, log):
            return clamp((a - b) * INVERSE[log >> 4] >> 16, -32768, 32767)

        nudge(model.scale[self.place], self.f, error(4096 * m, self.scale, self.log))
        if model.is_small:
            signed = 4096 * m if n > 0 else -4096 * m
            t = min(2**28, abs(signed - self.centre))
            step = error(t, self.spread, self.log_spread)
            nudge(model.residual[self.place], self.f2, step)
            self.distances += t >> 12
        u = clamp(n * exp2(9216 - max(self.log, 2560)) >> 16, -1023, 1023)
        mean = model.mean[self.place]
        if model.is_small or (r ^ c) % 8 == 0 or mean.samples < 400:
            mean.learn(self.x, u)
        self.units[i] = u
        self.total += m
        self.count += 1
        self.row_sum[r] += m
        self.channel_sum[c] += m
        self.column_sum[c * self.taps + p] += m
        self.position_sum[p] += m
        self.row_count[r] += 1
        self.channel_count[c] += 1
        self.column_count[c * self.taps + p] += 1
        self.position_count[p] += 1
        self.kernel_sum += m
        self.column_units[c * self.taps + p] += u

    # Contexts and bits

    def rel(self, i):
        m = self.magnitude(i)
        return 1 + clamp((log2(m) + 3072 - self.log + 384) >> 7, 0, 6) if m else 0

    def sg(self, v):
        return 0 if v == 0 else 1 if (v < 0) == (self.z < 0) else 2

    def value(self, r, c, p, i, state):
        if self.bound == 0:
            return 0
        columns, taps = self.columns, self.taps
        self.which = state if self.states else min(p, 31)
        self.bin = clamp((self.log - 1536) >> 5, 0, 127)
        self.octave = clamp((self.log - 2304) >> 8, 0, 7)
        self.group = group(self.z)
        above = i - columns if r >= 1 else None
        above2 = i - 2 * columns if r >= 2 else None
        octave, z = self.octave, self.z
        negative_mean = 1 if z < 0 else 0
        x8, x9 = self.x[8], self.x[9]
        neighbours = (8 * self.rel(self.left) + self.rel(self.up)) * 8 + octave
        signs = (3 * self.sg(self.unit(self.left)) + self.sg(self.unit(self.up))) * 3
        signs = (signs + self.sg(x8)) * 3 + self.sg(x9)
        self.normal = [16 * self.bin + self.group, neighbours, 64 * (self.bin >> 3) + self.which]
        self.sign = [16 * min(abs(z) >> 2, 127), signs, 64 * self.group + self.which]
        if self.model.is_small:
            pattern = 0
            for n in (
                self.left,
                self.up,
                i - taps if c >= 1 else None,
                i - 2 * taps if c >= 2 else None,
                above,
                above + taps if r >= 1 and c + 1 < self.channels else None,
                above - taps if r >= 1 and c >= 1 else None,
                above2,
            ):
                pattern = 2 * pattern + (self.magnitude(n) > 0)
            self.normal += [
                (8 * self.rel(above) + self.rel(above2)) * 8 + octave,
                clamp((self.log_spread - 1536) >> 5, 0, 127),
                r % 256,
                c % 1024,
                4 * pattern + (octave >> 1),
            ]
            self.sign += [
                32 * self.group + min(p, 31),
                8 * self.group + octave,
                2 * (r % 128) + negative_mean,
                2 * (c % 512) + negative_mean,
                24 * (3 * group(x8) + self.sg(x8)) + 3 * group(x9) + self.sg(x9),
            ]
            self.label = self.labels and 2 * self.labels[i]
        self.odd = 16 if self.states and state % 2 else 0
        self.agrees = 0
        return self.nodes()

    def nodes(self):
        if not self.bit(0, lambda t, v: self.expert_zero(t, v)):
            return 0
        negative = False
        if self.is_signed:
            negative = bool(self.bit(1, lambda t, v: self.expert_sign(t, v)) ^ (self.z < 0))
        self.agrees = 8 if negative == (self.z < 0) else 0
        v = self.log - 3072 - (256 if self.states else 0)
        f = (v >> 8) - 1 if v > 256 else 0
        start, i = 1, 0
        while True:
            h = f + max(0, i - 5)
            after = start + 2**h
            if after > self.bound:
                break
            ends = 2 * start - 1, 2 * after - 1

            def expert(t, v, ends=ends):
                near, far = (beyond(end, t, v, negative) for end in ends)
                return chance(far, near)

            if not self.bit(2 + min(i, 8), expert):
                break
            start, i = after, i + 1
        rest = 0
        if h > 0:
            rest = self.bit(11 + min(h - 1, 4), None) << (h - 1)
            rest |= self.coder.wide(h - 1)
        return -(start + rest) if negative else start + rest

    def expert_zero(self, t, v):
        return chance(65536 - (below(1, t, v) - below(-1, t, v)), 65536)

    def expert_sign(self, t, v):
        down, up = below(-1, t, v), 65536 - below(1, t, v)
        return chance(up if self.z < 0 else down, down + up)

    def bit(self, node, expert):
        model = self.model
        contexts = list(self.sign if node == 1 else self.normal)
        agrees = self.agrees if node >= 2 else 0
        if node != 1:
            contexts[0] += agrees
        full = node + self.odd
        counters = [model.counter(s, context, full) for s, context in enumerate(contexts)]
        if not model.is_small and node == 1:
            bit = self.coder.bit(clamp(counters[0].p16, 32, 65504))
            counters[0].learn(bit, SETS[0][0])
            return bit
        inputs = [STRETCH[counter.p16 >> 4] for counter in counters] + [256]
        if model.is_small:
            for base in (7506, 7289):
                v = exp2(base - self.log_spread)
                asked = expert and self.mask is None
                inputs.append(STRETCH[expert(self.centre, v)] if asked else 0)
            of_label = Counter()
            if self.labels:
                key = self.label + (node == 1 and self.z < 0), full
                of_label = self.of_labels.setdefault(key, of_label)
                inputs.append(STRETCH[of_label.p16 >> 4])
            selectors = [self.group + agrees, self.bin >> 3]
        else:
            selectors = [0]
        mixers = [model.mixer(n, full, selector) for n, selector in enumerate(selectors)]
        inputs += [0] * (len(mixers[0]) - len(inputs))
        y = [clamp(dot(w, inputs), -2815, 2815) for w in mixers]
        p = squash(y[0])
        if model.is_small:
            both = (y[0] + y[1]) >> 1
            key = self.which, full, clamp(both + 2112, 0, 4095) >> 7
            entry = model.table.setdefault(key, squash((key[2] - 16) * 128))
            p = clamp((3 * squash(both) + entry + 2) >> 2, 1, 65535)
        bit = self.coder.bit(p)
        for counter, (limit, _) in zip(counters, SETS, strict=False):
            counter.learn(bit, limit)
        for w, one in zip(mixers, y, strict=True):
            target = 65536 if bit else 0
            nudge(w, inputs, clamp((target - squash(one)) >> 1, -32768, 32767))
        if model.is_small:
            model.table[key] += ((65535 if bit else 0) - model.table[key]) >> 6
            of_label.learn(bit, 1000)
        return bit


def floats(coder, model, layout, width, labels=None):
    count = math.prod(layout)
    if not count:
        return []
    if coder.bit(64):
        return [coder.wide(width) for _ in range(count)]
    if not coder.bit(4096):
        return fields(coder, model, layout, width, labels)
    entries = fields(coder, model, (1, coder.wide(17), 1, 1), width)
    negative = sum(entry >> (width - 1) for entry in entries)
    indices = Integers(coder, model, layout, None, 0, True, labels).decode()
    return [entries[index + negative] for index in indices]


def fields(coder, model, layout, width, labels=None):
    mantissa = 23 if width == 32 else 10
    unit = coder.plain(8 if width == 32 else 5)
    zeros = coder.plain(5)

    def tail(n):
        return 0 if n <= zeros else coder.wide(n - zeros) << zeros

    def flag(number):
        counter = model.flags[number]
        bit = coder.bit(clamp(counter.p16, 32, 65504))
        counter.learn(bit, 250)
        return bit

    out = []
    for k in Integers(coder, model, layout, None, 0, True, labels).decode():
        if k:
            x = abs(k).bit_length() - 1
            exponent, sign = unit + x, int(k < 0)
            low = (abs(k) - 2**x) << (mantissa - x) | tail(mantissa - x)
        else:
            exponent = unit - 1
            if exponent > 0 and flag(0):
                exponent = 0
            i = 1
            while exponent > 1 and flag(min(i, 30)):
                exponent, i = exponent - 1, i + 1
            if exponent == 0 and flag(31):
                sign, low = flag(32), 0
            else:
                sign, low = coder.plain(1), tail(mantissa)
        out.append(sign << (width - 1) | exponent << mantissa | low)
    return out


def decode(preset, data, calls):
    """Fill arrays from a chunk of the preset 0 (fast) or 1 (small).

    ``calls``: for each row group its array, the slice of it, and the layout of the group.
    """
    coder, model = Range(data), Model(preset == 1)
    for array, where, layout in calls:
        mask = array.under.values[where] if array.under else None
        labels = array.labels(where) if array.labelled else None
        if array.kind != "floats":
            states, is_signed = array.detail, array.kind == "integers"
            found = Integers(coder, model, layout, mask, states, is_signed, labels).decode()
            array.values[where] = found
        elif mask is None:
            array.values[where] = floats(coder, model, layout, array.detail, labels)
        else:
            if labels:
                labels = [label for label, kept in zip(labels, mask, strict=True) if kept]
            stored = iter(floats(coder, model, (1, sum(mask), 1, 1), array.detail, labels))
            array.values[where] = [next(stored) if kept else 0 for kept in mask]
    coder.finish()
