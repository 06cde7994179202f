"""Local search: units change blocks, all at once by their likelihood, then by exact gains.

:func:`converge` is hard expectation maximisation: blocks are estimated from their units, and
every unit of a group then goes where its edges are cheapest; the groups take turns.
:func:`polish` ends where no single unit can move without making the description longer: it
tries all moves that gain, taken alone, at once, and the better half of them where they get in
each other's way.
"""

from __future__ import annotations

import numpy as np

from reticule.science.blocks.counting import log2_factorial
from reticule.science.blocks.parts import Part
from reticule.science.blocks.problem import Problem, State, block_pairs, side_counts

SMALLEST_GAIN = 1e-6  # bits
_CHUNK = 1 << 20  # numbers in a temporary array


def converge(problem: Problem, state: State, sweeps: int = 50) -> State:
    """Hard expectation maximisation from a state; never returns a longer description."""
    best, waited = state, 0
    for _ in range(sweeps):
        before = state
        for group in range(len(problem.sizes)):
            if state.blocks[group] > 1:
                state = _assigned(problem, state, group)
        if state.bits < best.bits - SMALLEST_GAIN:
            best, waited = state, 0
        elif (waited := waited + 1) > 2:
            break
        if all(np.array_equal(a, b) for a, b in zip(before.labels, state.labels, strict=True)):
            break
    return best


def polish(problem: Problem, state: State, rounds: int = 20) -> State:
    """Single moves by their exact gain, until none is left."""
    for _ in range(rounds):
        before = state.bits
        for group in range(len(problem.sizes)):
            if state.blocks[group] > 1:
                state = _polished(problem, state, group)
        if state.bits > before - SMALLEST_GAIN:
            break
    return state


def _assigned(problem: Problem, state: State, group: int) -> State:
    """Every unit of a group in the block where it is cheapest."""
    sums = problem.unit_sums(state, group)
    sizes = np.bincount(state.labels[group], minlength=state.blocks[group])
    cost = np.tile(-np.log2(np.maximum(sizes, 1) / sizes.sum()), (problem.sizes[group], 1))
    for (number, of_rows), units in zip(problem.sides(group), sums, strict=True):
        part = problem.parts[number]
        each, cell = _oriented_scores(problem, state, number, of_rows)
        for statistic, price in zip(units, each, strict=True):
            cost += statistic @ price.T
        others = side_counts(part, not of_rows, state.labels, state.blocks)
        cost += np.outer(part.side(of_rows).counts, cell @ others)
    return problem.moved(state, group, np.argmin(cost, axis=1), sums)


def _oriented_scores(
    problem: Problem, state: State, number: int, of_rows: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Prices of statistics and cells, the blocks of the group first."""
    part = problem.parts[number]
    pairs = block_pairs(part, state.labels, state.blocks)
    each, cell = problem.family.scores(state.sums[number], pairs, part.scale, part.positions)
    return (each, cell) if of_rows else (each.swapaxes(1, 2), cell.T)


def _polished(problem: Problem, state: State, group: int) -> State:
    """Moves of units of one group, as long as they shorten the description."""
    sums = problem.unit_sums(state, group)
    for _ in range(20):
        change = move_bits(problem, state, group, sums)
        target = np.argmin(change, axis=1)
        gain = change[np.arange(target.size), target]
        movers = np.flatnonzero(gain < -SMALLEST_GAIN)
        movers = movers[np.argsort(gain[movers], kind="stable")]
        better = None
        while movers.size and better is None:
            labels = state.labels[group].copy()
            labels[movers] = target[movers]
            tried = problem.moved(state, group, labels, sums)
            if tried.bits < state.bits - SMALLEST_GAIN:
                better = tried
            movers = movers[: movers.size // 2]
        if better is None:
            return state
        state = better
    return state


def move_bits(problem: Problem, state: State, group: int, sums: list[np.ndarray]) -> np.ndarray:
    """Change of the description (units, blocks) if one unit moves and all others stay."""
    labels, blocks = state.labels[group], state.blocks[group]
    sizes = np.bincount(labels, minlength=blocks).astype(np.float64)
    total = np.log2(sizes)[labels][:, None] - np.log2(sizes + 1)
    for (number, of_rows), units in zip(problem.sides(group), sums, strict=True):
        part = problem.parts[number]
        total = total + _block_change(problem, state, number, of_rows, units)
        side = part.side(of_rows)
        if side.degrees is not None:
            rows = side.spread(labels)
            histogram = side.degrees.histogram(rows, blocks)
            total = total + side.gathered(side.degrees.move_bits(rows, histogram))
    total[np.arange(labels.size), labels] = 0.0
    return total


def _block_change(
    problem: Problem, state: State, number: int, of_rows: bool, units: np.ndarray
) -> np.ndarray:
    """Change of the bits inside of blocks (units, blocks)."""
    part, family = problem.parts[number], problem.family
    side = part.side(of_rows)
    labels = state.labels[side.group]
    sums = state.sums[number] if of_rows else state.sums[number].swapaxes(1, 2)
    own = side_counts(part, of_rows, state.labels, state.blocks)
    others = side_counts(part, not of_rows, state.labels, state.blocks)
    now = family.block_bits(sums, own[:, None] * others, part.scale, part.positions).sum(axis=1)
    found = np.empty((labels.size, own.size))
    step = max(1, _CHUNK // max(own.size * others.size, 1))
    for start in range(0, labels.size, step):
        some = slice(start, start + step)
        here, count, unit = labels[some], side.counts[some], units[:, some]
        gone = np.maximum(sums[:, here] - unit, _floor(sums))
        left = (own[here] - count)[:, None] * others
        leave = family.block_bits(gone, left, part.scale, part.positions).sum(axis=1) - now[here]
        come = sums[:, None] + unit[:, :, None]
        cells = (own + count[:, None])[:, :, None] * others
        enter = family.block_bits(come, cells, part.scale, part.positions).sum(axis=2) - now
        found[some] = enter + leave[:, None]
    return found


def _floor(sums: np.ndarray) -> np.ndarray:
    """Zero for sums that cannot be negative, so that rounding does not make them so."""
    return np.where(sums.min(axis=(1, 2)) < 0, -np.inf, 0.0)[:, None, None]


def merge_bits(problem: Problem, state: State, group: int) -> np.ndarray:
    """Change of the description (blocks, blocks) if two blocks of a group become one."""
    labels, blocks = state.labels[group], state.blocks[group]
    sizes = np.bincount(labels, minlength=blocks).astype(np.float64)
    alone = log2_factorial(sizes)
    total = alone[:, None] + alone - log2_factorial(sizes[:, None] + sizes)
    for number, of_rows in problem.sides(group):
        part = problem.parts[number]
        total = total + _merge_change(problem, state, part, number, of_rows)
        side = part.side(of_rows)
        if side.degrees is not None:
            histogram = side.degrees.histogram(side.spread(labels), blocks)
            total = total + side.degrees.merged_bits(histogram)
    return total


def _merge_change(
    problem: Problem, state: State, part: Part, number: int, of_rows: bool
) -> np.ndarray:
    family = problem.family
    sums = state.sums[number] if of_rows else state.sums[number].swapaxes(1, 2)
    own = side_counts(part, of_rows, state.labels, state.blocks)
    others = side_counts(part, not of_rows, state.labels, state.blocks)
    now = family.block_bits(sums, own[:, None] * others, part.scale, part.positions).sum(axis=1)
    found = np.empty((own.size, own.size))
    for block in range(own.size):
        cells = (own + own[block])[:, None] * others
        both = family.block_bits(sums + sums[:, block, None], cells, part.scale, part.positions)
        found[block] = both.sum(axis=1) - now - now[block]
    return found
