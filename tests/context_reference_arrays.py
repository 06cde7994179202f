"""The second decoder, continued: what is known before a value, contexts, nodes."""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING

from context_reference import (
    SQUASH,
    STRETCH,
    Logistic,
    chance,
    clamp,
    dot,
    exp2,
    group,
    log2,
    nudge,
    trellis,
)

if TYPE_CHECKING:
    from context_reference_decoder import Decoder

LIMITS = (1000, 255, 255, 255, 1000, 250, 250, 1000)
Layout = tuple[int, int, int, int]


def error(a: int, b: int, log: int) -> int:
    inverse = 2**30 // (4096 + exp2(16 * (log >> 4) + 8))
    return clamp(((a - b) * inverse) >> 16, -32768, 32767)


class Array:
    """One modelled array of integers."""

    def __init__(
        self, model: Decoder, layout: Layout, bound: int, states: int, signed: bool
    ) -> None:
        self.model, self.bound, self.states, self.signed = model, bound, states, signed
        self.rows, self.channels, self.height, self.width = layout
        self.kernel = self.height * self.width
        for fit in model.mean:
            while fit.samples > 150:
                fit.halve()
        self.prior = max(1, ((bound + 1) << 18) // (44 * prod(layout).bit_length() + 64))
        self.sums: dict[object, int] = defaultdict(int)
        self.m: dict[tuple[int, int, int], int] = {}  # by row, channel, position
        self.u: dict[tuple[int, int, int], int] = {}
        self.log_mean = 0

    def decode(self, mask: bytes | None) -> list[int]:
        out: list[int] = []
        after, level = trellis(self.states)
        state, row_profile = 0, []
        for r in range(self.rows):
            for c in range(self.channels):
                self._start_kernel(r, c)
                for p in range(self.kernel):
                    self._expect(r, c, p)
                    k = 0
                    if not mask or mask[len(out)]:
                        k = self._value(state)
                    out.append(k)
                    self._learn(level(state, k))
                    state = after(state, k)
            row_profile.append(self._part(self.sums["row", r], self.channels * self.kernel))
        columns = [
            self._part(self.sums["channel", c], self.rows * self.kernel)
            for c in range(self.channels)
        ]
        self.model.profiles = [columns, row_profile, *self.model.profiles[:2]]
        return out

    def _part(self, total: int, count: int) -> int:
        return clamp(log2(4096 * total + 4096) - log2(count + 1) - self.log_mean, -1024, 1024)

    def _ratio(self, total: int, prior: int, log: int) -> int:
        x = log2(4096 * total + prior * self.typical) - log - self.log_mean
        return clamp(x, -1536, 1536)

    def _start_kernel(self, r: int, c: int) -> None:
        total, count = self.sums["all"], (r * self.channels + c) * self.kernel
        self.log_mean = log2(4096 * total + 8 * self.prior) - log2(count + 8)
        self.typical = max(1, exp2(self.log_mean))
        self.kernel_sum = self.distances = 0
        c1, r1, c2, r2 = self.model.profiles
        sums, positions = self.sums, self.kernel
        self.fixed = [
            self._ratio(sums["row", r], 8, log2(c * positions + 8)),
            self._ratio(sums["channel", c], 8, log2(r * positions + 8)),
            c2[c] if len(c2) == self.channels else 0,
            r1[c] if len(r1) == self.channels else 0,
            r2[r] if len(r2) == self.rows else 0,
            c1[r] if len(c1) == self.rows else 0,
        ]

    def _expect(self, r: int, c: int, p: int) -> None:
        self.r, self.c, self.p = r, c, p
        self.place = place = 16 if self.kernel == 1 else min(p, 15)
        self.left = (r, c, p - 1) if p % self.width else None
        self.up = (r, c, p - self.width) if p >= self.width else None
        near = self._of(self.m, self.left) + self._of(self.m, self.up)
        exist = (self.left is not None) + (self.up is not None)
        row, column, *older = self.fixed
        f = [row, column, self._ratio(self.sums["column", c, p], 2, log2(r + 2))]
        f.append(self._ratio(self.sums["position", p], 16, log2(r * self.channels + c + 16)))
        f.append(self._ratio(self.kernel_sum, 2, log2(p + 2)))
        f += [self._ratio(near, 1, (0, 256, 406)[exist]), *older[:2]]
        if self.model.small:
            f += [*older[2:], 0, 0, 0, 0, 0, 0]
        self.f = f
        self.log_scale = clamp(self.log_mean + dot(self.model.scale[place], f), 0, 7680)
        self.scale = exp2(self.log_scale)
        self.x = self._neighbours()
        self.z = self.model.mean[place].predict(self.x)
        if self.model.small:
            self.centre = (self.z * max(self.scale, 64)) >> 8
            size = clamp(log2(abs(self.z)) - 1536, -512, 1024) if self.z else -512
            extra = [self._ratio(self.distances, 2, log2(p + 2)), size, 256]
            self.extended = [*f[:10], *extra, 0, 0, 0]
            over = dot(self.model.residual[place], self.extended)
            self.log_spread = clamp(self.log_mean + over, 2048, 7680)

    @staticmethod
    def _of(values: dict[tuple[int, int, int], int], key: tuple[int, int, int] | None) -> int:
        return 0 if key is None else values.get(key, 0)

    def _neighbours(self) -> list[int]:
        r, c, p, u = self.r, self.c, self.p, self.u
        if self.kernel == 1:
            keys = [(r, c - 1, 0), (r, c - 2, 0), (r - 1, c, 0), (r - 1, c - 1, 0)]
            x = [u.get(key, 0) for key in keys] + [0] * 4
        elif self.kernel <= 9:
            x = [u[r, c, j] if j < p else 0 for j in range(8)]
        else:
            y0, x0, x = p // self.width, p % self.width, []
            near = ((0, -1), (0, -2), (-1, 0), (-1, -1), (-1, 1), (-2, 0), (-1, 2), (-1, -2))
            for dy, dx in near:
                inside = y0 + dy >= 0 and 0 <= x0 + dx < self.width
                x.append(u[r, c, (y0 + dy) * self.width + x0 + dx] if inside else 0)
        for key, n in ((("z row", r, p), c), (("z column", c, p), r)):
            share = 65536 // (min(n, 65533) + 2)
            x.append(clamp((self.sums[key] * share) >> 16, -1023, 1023))
        return [*x, 64]

    def _learn(self, n: int) -> None:
        m, model, key = min(abs(n), 65535), self.model, (self.r, self.c, self.p)
        nudge(model.scale[self.place], self.f, error(4096 * m, self.scale, self.log_scale))
        if model.small:
            t = min(2**28, abs((-4096 if n < 0 else 4096) * m - self.centre))
            step = error(t, exp2(self.log_spread), self.log_spread)
            nudge(model.residual[self.place], self.extended, step)
            self.distances += t >> 12
        u = clamp((n * exp2(9216 - max(self.log_scale, 2560))) >> 16, -1023, 1023)
        fit = model.mean[self.place]
        if model.small or (self.r ^ self.c) % 8 == 0 or fit.samples < 400:
            fit.learn(self.x, u)
        self.m[key], self.u[key] = m, u
        self.kernel_sum += m
        r, c, p = key
        for name in ("all", ("row", r), ("channel", c), ("column", c, p), ("position", p)):
            self.sums[name] += m
        self.sums["z row", r, p] += u
        self.sums["z column", c, p] += u

    def _value(self, state: int) -> int:
        if self.bound == 0:
            return 0
        self.state, self.negative, self.behind = state, False, False
        if not self._node(0):
            return 0
        if self.signed:
            self.negative = bool(self._node(1)) != (self.z < 0)
        self.behind = True
        v = self.log_scale - 3072 - (256 if self.states else 0)
        f = (v >> 8) - 1 if v > 256 else 0
        self.start, i = 1, 0
        while True:
            h = f + max(0, i - 5)
            self.next = self.start + (1 << h)
            if self.next > self.bound or not self._node(2 + min(i, 8)):
                break
            self.start, i = self.next, i + 1
        low = 0
        if h > 0:
            low = self._node(11 + min(h - 1, 4)) << (h - 1) | self.model.coder.wide(h - 1)
        return -(self.start + low) if self.negative else self.start + low

    def _contexts(self, node: int) -> list[int]:
        z, r, c, p, g, mid = self.z, self.r, self.c, self.p, group(self.z), self.log_scale

        def rel(key: tuple[int, int, int] | None) -> int:
            m = self._of(self.m, key)
            return 1 + clamp((log2(m) + 3072 - mid + 384) >> 7, 0, 6) if m else 0

        def sg(v: int) -> int:
            return 0 if v == 0 else 1 if (v < 0) == (z < 0) else 2

        self.coarse = clamp((mid - 1536) >> 5, 0, 127) >> 3
        self.which = self.state if self.states else min(p, 31)
        octave = clamp((mid - 2304) >> 8, 0, 7)
        above, above2 = (r - 1, c, p), (r - 2, c, p)
        if node == 1:
            signs = [sg(self._of(self.u, self.left)), sg(self._of(self.u, self.up))]
            signs += [sg(self.x[8]), sg(self.x[9])]
            contexts = [16 * min(abs(z) >> 2, 127), 0, 64 * g + self.which, 32 * g + min(p, 31)]
            for sign in signs:
                contexts[1] = 3 * contexts[1] + sign
            contexts += [8 * g + octave, 2 * (r % 128) + (z < 0), 2 * (c % 512) + (z < 0)]
            last = 24 * (3 * group(self.x[8]) + signs[2]) + 3 * group(self.x[9]) + signs[3]
            return [*contexts, last]
        self.agree = 8 if self.behind and self.negative == (z < 0) else 0
        contexts = [16 * clamp((mid - 1536) >> 5, 0, 127) + g + self.agree]
        contexts.append((8 * rel(self.left) + rel(self.up)) * 8 + octave)
        contexts.append(64 * self.coarse + self.which)
        contexts.append((8 * rel(above) + rel(above2)) * 8 + octave)
        if self.model.small:
            contexts.append(clamp((self.log_spread - 1536) >> 5, 0, 127))
        pattern = 0
        around = (self.left, self.up, (r, c - 1, p), (r, c - 2, p), above)
        for key in (*around, (r - 1, c + 1, p), (r - 1, c - 1, p), above2):
            pattern = 2 * pattern + (self._of(self.m, key) > 0)
        return [*contexts, r % 256, c % 1024, 4 * pattern + (octave >> 1)]

    def _expert(self, constant: int, node: int) -> int:
        expert = Logistic(self.centre, exp2(constant - self.log_spread))
        if node == 0:
            return STRETCH[chance(65536 - (expert.below(1) - expert.below(-1)), 65536)]
        if node == 1:
            down, up = expert.below(-1), 65536 - expert.below(1)
            return STRETCH[chance(up if self.z < 0 else down, down + up)]
        if node > 10:
            return 0
        a = expert.beyond(2 * self.next - 1, self.negative)
        return STRETCH[chance(a, expert.beyond(2 * self.start - 1, self.negative))]

    def _node(self, node: int) -> int:
        model, small = self.model, self.model.small
        if node < 2:
            self.agree = 0
        contexts = self._contexts(node)[: 8 if small else 3]
        place = node + (16 if self.states and self.state % 2 else 0)
        counters = [model.counter(i, context, place) for i, context in enumerate(contexts)]
        if not small and node == 1:
            bit = model.coder.bit(clamp(counters[0].p >> 6, 32, 65504))
            counters[0].learn(bit, LIMITS[0])
            return bit
        inputs = [STRETCH[counter.p >> 10] for counter in counters] + [256]
        if small:
            inputs += [self._expert(7506, node), self._expert(7289, node)]
        inputs += [0] * ((16 if small else 8) - len(inputs))
        selectors = (group(self.z) + self.agree, self.coarse) if small else (0,)
        mixers = [model.mixers[i, s, place] for i, s in enumerate(selectors)]
        ys = [clamp(dot(w, inputs), -2815, 2815) for w in mixers]
        p = SQUASH[ys[0]]
        if small:
            y = (ys[0] + ys[1]) >> 1
            key = (self.which, place, clamp(y + 2112, 0, 4095) >> 7)
            cell = model.refined.setdefault(key, SQUASH[(key[2] - 16) * 128])
            p = clamp((3 * SQUASH[y] + cell + 2) >> 2, 1, 65535)
        bit = model.coder.bit(p)
        for counter, limit in zip(counters, LIMITS, strict=False):
            counter.learn(bit, limit)
        for w, y in zip(mixers, ys, strict=True):
            target = 65536 if bit else 0
            nudge(w, inputs, clamp((target - SQUASH[y]) >> 1, -32768, 32767))
        if small:
            model.refined[key] += ((65535 if bit else 0) - model.refined[key]) >> 6
        return bit
