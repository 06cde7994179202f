"""The second decoder, continued: payloads with arrays of integers and floats."""

from __future__ import annotations

from collections import defaultdict
from math import prod

from context_reference import Counter, LeastSquares, Logistic, Range, chance, clamp, div, exp2
from context_reference_arrays import Array, Layout

START = [8192, 7373, 3277, 6554, 6554, 2458, 0, 4915]


class Decoder:
    """Preset fast (``small=False``) or small."""

    def __init__(self, payload: bytes, small: bool) -> None:
        self.coder, self.small = Range(payload), small
        lanes = 16 if small else 8
        self.scale = [START + [0] * (lanes - 8) for _ in range(17)]
        self.residual = [START + [0] * 8 for _ in range(17)]
        self.mean = [LeastSquares() for _ in range(17)]
        self.profiles: list[list[int]] = [[], [], [], []]  # C1, R1, C2, R2
        self.counters: dict[tuple[int, int, int], Counter] = {}
        first = [1250] * 8 + [0] + [5500] * 2 + [0] * 5 if small else [10000, 2000, 2000] + [0] * 5
        self.mixers: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: list(first))
        self.refined: dict[tuple[int, int, int], int] = {}
        self.flags = [Counter() for _ in range(40)]

    def integers(
        self, layout: Layout, mask: bytes | None = None, states: int = 0, signed: bool = True
    ) -> list[int]:
        count, coder = prod(layout), self.coder
        if count == 0:
            return []
        if coder.bit(64):
            width, out = coder.plain(5), []
            for i in range(count):
                u = 0 if mask and not mask[i] else coder.wide(width)
                out.append(u if not signed else u // 2 if u % 2 == 0 else -(u + 1) // 2)
            return out
        digits = coder.plain(5)
        bound = (((5 + coder.plain(2)) << (digits - 3)) if digits > 2 else 1 << digits) - 1
        return Array(self, layout, bound, states, signed).decode(mask)

    def counter(self, which: int, context: int, node: int) -> Counter:
        key = (which, context, node)
        if key not in self.counters:
            self.counters[key] = _first(which, context, node % 16)
        return self.counters[key]

    def floats(self, width: int, layout: Layout) -> list[int]:
        if prod(layout) == 0:
            return []
        if self.coder.bit(64):
            return [self.coder.wide(width) for _ in range(prod(layout))]
        if not self.coder.bit(4096):
            return self._fields(width, layout)
        size = self.coder.wide(17)
        table = self._fields(width, (1, size, 1, 1))
        origin = sum(pattern >> (width - 1) for pattern in table)
        return [table[k + origin] for k in self.integers(layout)]

    def _fields(self, width: int, layout: Layout) -> list[int]:
        mantissa = 23 if width == 32 else 10
        unit, zeros = self.coder.plain(width - 1 - mantissa), self.coder.plain(5)
        return [self._pattern(k, width, mantissa, unit, zeros) for k in self.integers(layout)]

    def _pattern(self, k: int, width: int, mantissa: int, unit: int, zeros: int) -> int:
        def tail(n: int) -> int:
            return 0 if n <= zeros else self.coder.wide(n - zeros) << zeros

        def flag(i: int) -> int:
            bit = self.coder.bit(clamp(self.flags[i].p >> 6, 32, 65504))
            self.flags[i].learn(bit, 250)
            return bit

        if k:
            x = abs(k).bit_length() - 1
            field = ((abs(k) - (1 << x)) << (mantissa - x)) | tail(mantissa - x)
            return (k < 0) << (width - 1) | (unit + x) << mantissa | field
        e = unit - 1
        if e > 0 and flag(0):
            e = 0
        i = 1
        while e > 1 and flag(min(i, 30)):
            e, i = e - 1, i + 1
        if e == 0 and flag(31):
            return flag(32) << (width - 1)
        sign = self.coder.plain(1)
        return sign << (width - 1) | e << mantissa | tail(mantissa)


def _first(which: int, context: int, node: int) -> Counter:
    counter = Counter()
    if which > 4 or not (node == 0 or 2 <= node <= 10):
        return counter
    log = (
        1552 + 32 * (context >> 4),
        2432 + 256 * (context % 8),
        1664 + 256 * (context >> 6),
        2432 + 256 * (context % 8),
        1552 + 32 * context,
    )[which]
    count = 6 if which in (0, 4) else 2
    guess = Logistic(0, exp2(7388 - log))
    if node == 0:
        counter.put(65536 - clamp(guess.below(1) - guess.below(-1), 16, 65520), count)
    else:
        h = max(0, div(log - 3072, 256) - 1)
        a = 1 + ((node - 2) << h)
        b = a + (1 << h)
        share = chance(guess.beyond(2 * b - 1, False), guess.beyond(2 * a - 1, False))
        counter.put(16 * share, count)
    return counter
