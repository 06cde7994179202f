"""Fewer and more blocks: the merge that costs least, and the split that gains most."""

from __future__ import annotations

import numpy as np

from reticule.science.blocks.moves import SMALLEST_GAIN, merge_bits
from reticule.science.blocks.problem import Problem, State, header_bits


def merged_down(problem: Problem, state: State, most: tuple[int, ...]) -> State:
    """Merge, in each group, the cheapest pairs of blocks until there are at most so many.

    Several pairs at a time, a quarter of the blocks, as long as there are many too many.
    """
    for group, limit in enumerate(most):
        while (count := state.blocks[group]) > limit:
            change = merge_bits(problem, state, group)
            upper = np.triu_indices(count, 1)
            cheapest = np.argsort(change[upper], kind="stable")
            into, taken = np.arange(count), np.zeros(count, bool)
            wanted = min(max(1, count // 4), count - limit)
            for pair in cheapest:
                a, b = int(upper[0][pair]), int(upper[1][pair])
                if wanted and not taken[a] and not taken[b]:
                    taken[[a, b]] = True
                    into[b] = a
                    wanted -= 1
            state = relabelled(problem, state, group, into)
    return state


def best_merge(problem: Problem, state: State) -> State | None:
    """The state after the merge of two blocks, in any group, that is shortest."""
    best, least = None, float("inf")
    for group, count in enumerate(state.blocks):
        if count < 2:
            continue
        change = merge_bits(problem, state, group)
        change[np.tril_indices(count)] = np.inf
        a, b = divmod(int(np.argmin(change)), count)
        total = float(change[a, b]) + _fewer_bits(problem, state, group)
        if total < least:
            best, least = (group, a, b), total
    if best is None:
        return None
    group, a, b = best
    into = np.arange(state.blocks[group])
    into[b] = a
    return relabelled(problem, state, group, into)


def _fewer_bits(problem: Problem, state: State, group: int) -> float:
    """Change of what only the numbers of blocks decide, for one block less in a group."""
    size, count = problem.sizes[group], state.blocks[group]
    bits = header_bits(size, count - 1) - header_bits(size, count)
    fewer = [count - 1 if g == group else each for g, each in enumerate(state.blocks)]
    for number in {number for number, _ in problem.sides(group)}:
        part = problem.parts[number]
        bits += problem.joint_bits(part, fewer) - problem.joint_bits(part, state.blocks)
    return bits


def relabelled(problem: Problem, state: State, group: int, into: np.ndarray) -> State:
    """The state after blocks of a group got new numbers; equal ones merge.  No layer is read."""
    _, into = np.unique(into, return_inverse=True)
    count = int(into.max()) + 1
    labels = tuple(into[old] if g == group else old for g, old in enumerate(state.labels))
    blocks = tuple(count if g == group else old for g, old in enumerate(state.blocks))
    parts = list(state.sums)
    for number, of_rows in problem.sides(group):
        axis = 1 if of_rows else 2
        old = np.moveaxis(parts[number], axis, 0)
        total = np.zeros((count, *old.shape[1:]))
        np.add.at(total, into, old)
        parts[number] = np.moveaxis(total, 0, axis)
    return State(labels, blocks, tuple(parts), problem.length(labels, blocks, tuple(parts)))


def best_split(
    problem: Problem, state: State, most: tuple[int, ...], generator: np.random.Generator
) -> State | None:
    """The first split of a block that shortens the description, over groups and blocks."""
    for group, count in enumerate(state.blocks):
        if count >= min(most[group], problem.sizes[group]):
            continue
        sums = problem.unit_sums(state, group)
        found = None
        for block in range(count):
            members = np.flatnonzero(state.labels[group] == block)
            if members.size < 2:
                continue
            for second in _halves(problem, state, group, members, sums, generator):
                labels = state.labels[group].copy()
                labels[members[second]] = count
                tried = problem.moved(state, group, labels, sums)
                if tried.bits < (found or state).bits - SMALLEST_GAIN:
                    found = tried
        if found is not None:
            return found
    return None


def _halves(
    problem: Problem,
    state: State,
    group: int,
    members: np.ndarray,
    sums: list[np.ndarray],
    generator: np.random.Generator,
) -> list[np.ndarray]:
    """Ways to cut a block in two (masks over its members): likely, by degree, at random."""
    views = [each[:, members] for each in sums]
    features = np.hstack([each[-1] for each in views])
    centred = features - features.mean(axis=0)
    leading = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    keys = (leading, features.sum(axis=1), generator.random(members.size))
    found = []
    for key in keys:
        second = key > np.median(key)
        if not second.any():
            second = key == key.max()
        for _ in range(8):
            if second.all() or not second.any():
                break
            new = _cheaper(problem, state, group, members, views, second)
            if np.array_equal(new, second):
                break
            second = new
        if second.any() and not second.all():
            found.append(second)
    return found


def _cheaper(
    problem: Problem,
    state: State,
    group: int,
    members: np.ndarray,
    views: list[np.ndarray],
    second: np.ndarray,
) -> np.ndarray:
    """Which members are cheaper in the second half, halves being what they are now."""
    gain = np.zeros(members.size)
    for (number, of_rows), units in zip(problem.sides(group), views, strict=True):
        part = problem.parts[number]
        other = part.side(not of_rows)
        others = np.bincount(
            state.labels[other.group], other.counts, minlength=state.blocks[other.group]
        )
        counts = part.side(of_rows).counts[members]
        halves = np.stack([units[:, ~second].sum(axis=1), units[:, second].sum(axis=1)], axis=1)
        pairs = np.array([[counts[~second].sum()], [counts[second].sum()]]) * others
        each, cell = problem.family.scores(halves, pairs, part.scale, part.positions)
        for statistic, price in zip(units, each, strict=True):
            gain += statistic @ (price[1] - price[0])
        gain += counts * float((cell[1] - cell[0]) @ others)
    return gain < 0
