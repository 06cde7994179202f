"""The search for the shortest description: restarts, merges, splits, and one block at the end."""

from __future__ import annotations

import numpy as np

from reticule.science.blocks.merging import best_merge, best_split, merged_down
from reticule.science.blocks.moves import SMALLEST_GAIN, converge, polish
from reticule.science.blocks.problem import Problem, State
from reticule.science.blocks.starts import KINDS, started

MOST_BLOCKS = 64
_PATIENCE = 3  # merges that may lengthen the description before the search gives up


def search(
    problem: Problem,
    most: tuple[int, ...] | None = None,
    restarts: int = 3,
    seed: int = 0,
) -> State:
    """The best state found; never longer than that of one block for each group.

    ``most`` limits the numbers of blocks; None leaves them to the description length.
    """
    limits = tuple(min(MOST_BLOCKS, size) for size in problem.sizes) if most is None else most
    best = problem.one_block()
    for number in range(restarts):
        generator = np.random.default_rng((seed, number))
        kind = KINDS[number % len(KINDS)]
        begin = tuple(
            min(size, max(_first_count(size), limit if most else 0))
            for size, limit in zip(problem.sizes, limits, strict=True)
        )
        state = converge(problem, started(problem, kind, begin, generator), 10)
        state = refined(problem, state, limits, generator)
        if state.bits < best.bits - SMALLEST_GAIN:
            best = state
    return best


def refined(
    problem: Problem, state: State, most: tuple[int, ...], generator: np.random.Generator
) -> State:
    """Merges and splits, each followed by moves, until neither helps."""
    state = polish(problem, _shrunk(problem, merged_down(problem, state, most)))
    for _ in range(50):
        split = best_split(problem, state, most, generator)
        if split is None:
            break
        split = polish(problem, converge(problem, split, 10))
        split = _shrunk(problem, split)
        if split.bits > state.bits - SMALLEST_GAIN:
            break
        state = split
    return state


def _shrunk(problem: Problem, state: State) -> State:
    """Merges as long as they pay, and a few more in case that moves then make up for them."""
    best, lost = state, 0
    while lost <= _PATIENCE:
        merged = best_merge(problem, state)
        if merged is None:
            break
        if merged.bits > state.bits:  # the easy ones are done
            merged = polish(problem, converge(problem, merged, 10), 3)
        state = merged
        if state.bits < best.bits - SMALLEST_GAIN:
            best, lost = state, 0
        else:
            lost += 1
    return best


def _first_count(units: int) -> int:
    """Blocks that a search begins with: twice the cube root of the units, 4 to 40."""
    return int(min(40, max(4, round(2 * units ** (1 / 3)))))
