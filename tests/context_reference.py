"""A second decoder of context-coded payloads, in plain Python, written from docs/format.md.

It shares nothing with the native code, so the tests hold the specification and the coder to
each other.  About a thousand values a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable

LOG = [round(256 * math.log2(1 + i / 256)) for i in range(256)]
EXP = [round(2 ** (16 + i / 256)) for i in range(256)]
KNOTS = [round(65536 / (1 + math.exp(-j / 8))) for j in range(89)]


def clamp(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


def div(a: int, b: int) -> int:
    return a // b if (a >= 0) == (b >= 0) else -(-a // b)


def log2(x: int) -> int:
    e = x.bit_length() - 1
    t = x << (8 - e) if e <= 8 else x >> (e - 8)
    return 256 * e + LOG[t & 255]


def exp2(x: int) -> int:
    x = clamp(x, 0, 10495)
    return (EXP[x & 255] << (x >> 8)) >> 16


def squash(x: int) -> int:
    j, t = abs(x) >> 5, abs(x) & 31
    value = KNOTS[j] + (((KNOTS[min(j + 1, 88)] - KNOTS[j]) * t + 16) >> 5)
    return min(65535, value) if x >= 0 else 65536 - value


SQUASH = {x: squash(x) for x in range(-2815, 2816)}


def _inverse_of_squash() -> list[int]:
    x, out = -2815, []
    for i in range(4096):
        while x < 2815 and SQUASH[x] < 16 * i + 8:
            x += 1
        out.append(x)
    return out


STRETCH = _inverse_of_squash()


def group(v: int) -> int:
    return sum(limit <= abs(v) for limit in (8, 20, 40, 70, 110, 170, 260))


class Range:
    """The range decoder."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.range = 2**64 - 1
        self.offset = int.from_bytes(payload[:8].ljust(8, b"\0"), "big")
        self.next = 8

    def _fill(self) -> None:
        if self.range < 2**32:
            self.range <<= 32
            more = self.payload[self.next : self.next + 4].ljust(4, b"\0")
            self.offset = ((self.offset << 32) | int.from_bytes(more, "big")) % 2**64
            self.next += 4

    def bit(self, p: int) -> int:
        bound = (self.range >> 16) * p
        found = int(self.offset < bound)
        if found:
            self.range = bound
        else:
            self.offset -= bound
            self.range -= bound
        self._fill()
        return found

    def plain(self, n: int) -> int:
        self.range >>= n
        value = min(self.offset // self.range, 2**n - 1)
        self.offset -= value * self.range
        self._fill()
        return value

    def wide(self, n: int) -> int:
        value = 0
        while n > 0:
            piece = min(n, 16)
            value = value << piece | self.plain(piece)
            n -= piece
        return value


class Counter:
    def __init__(self) -> None:
        self.p, self.n = 1 << 21, 0

    def put(self, p: int, n: int) -> None:
        self.p, self.n = p << 6, n

    def learn(self, bit: int, limit: int) -> None:
        target = (1 << 22) - 1 if bit else 0
        self.p += ((target - self.p) * (131072 // (2 * self.n + 3))) >> 16
        self.n += self.n < limit


def dot(w: list[int], x: list[int]) -> int:
    return sum(a * b for a, b in zip(w, x, strict=True)) >> 14


def nudge(w: list[int], x: list[int], step: int) -> None:
    for i, v in enumerate(x):
        w[i] = clamp(w[i] + ((((v * step) >> 16) + 1) >> 1), -32768, 32767)


class LeastSquares:
    def __init__(self) -> None:
        self.a = [[0] * 11 for _ in range(11)]
        self.b, self.e = [0] * 11, [0] * 11
        self.samples = self.next = 0

    def halve(self) -> None:
        self.samples >>= 1
        self.a = [[v >> 1 for v in row] for row in self.a]
        self.b = [v >> 1 for v in self.b]

    def predict(self, x: list[int]) -> int:
        return clamp(dot([e >> 2 for e in self.e], x), -1023, 1023)

    def learn(self, x: list[int], target: int) -> None:
        for i in range(11):
            for j in range(11):
                self.a[i][j] += x[i] * x[j]
            self.b[i] += x[i] * target
        self.samples += 1
        if self.samples == 1024:
            self.halve()
        k = self.next
        self.next = (k + 1) % 11
        rest = (self.b[k] << 16) - sum(a * e for a, e in zip(self.a[k], self.e, strict=True))
        rest += self.a[k][k] * self.e[k]
        self.e[k] = clamp(div(rest, self.a[k][k] + 2**20), -131072, 131071)


class Logistic:
    def __init__(self, centre: int, inverse: int) -> None:
        self.centre, self.inverse = centre, inverse

    def below(self, j: int) -> int:
        return SQUASH[clamp(((2048 * j - self.centre) * self.inverse) >> 20, -2815, 2815)]

    def beyond(self, j: int, negative: bool) -> int:
        return self.below(-j) if negative else 65536 - self.below(j)


def chance(a: int, b: int) -> int:
    return clamp((4096 * a) // b, 1, 4095)


Next = Callable[[int, int], int]


def trellis(states: int) -> tuple[Next, Next]:
    """Next state and level of (state, index); format.md, the section on trellises."""
    if states == 0:
        return lambda s, k: 0, lambda s, k: k
    h0, h1 = {8: (0o13, 0o4), 32: (0o45, 0o10), 64: (0o103, 0o24)}[states]

    def after(s: int, k: int) -> int:
        branch = (k ^ (s if k < 0 else 0)) & 1
        return (s >> 1) ^ (h0 >> 1 if s & 1 else 0) ^ (h1 >> 1 if branch else 0)

    def level(s: int, k: int) -> int:
        return 2 * k - ((k > 0) - (k < 0)) * (s & 1)

    return after, level
