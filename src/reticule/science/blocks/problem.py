"""The description length of labelled layers, and the state that a search walks through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reticule.science.blocks.counting import log2_binomial, log2_factorial
from reticule.science.blocks.degrees import correction
from reticule.science.blocks.families import Family
from reticule.science.blocks.parts import Part, block_sums

Labels = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class State:
    """Labels of all groups, with what follows from them."""

    labels: Labels
    blocks: tuple[int, ...]
    sums: tuple[np.ndarray, ...]  # for each part (T, row blocks, column blocks)
    bits: float


@dataclass(frozen=True)
class Problem:
    """Layers between groups of units, under one family."""

    family: Family
    parts: tuple[Part, ...]
    sizes: tuple[int, ...]  # units of each group

    @cached_property
    def edges(self) -> int:
        """Stored entries of all layers."""
        return int(sum(_total(part) for part in self.parts))

    def sides(self, group: int) -> list[tuple[int, bool]]:
        """The parts in which a group takes part, and whether as their rows."""
        return [
            (number, of_rows)
            for number, part in enumerate(self.parts)
            for of_rows in (True, False)
            if part.side(of_rows).group == group
        ]

    def state(self, labels: Sequence[np.ndarray]) -> State:
        """The state of some labels; labels without units are closed up."""
        compact = tuple(closed_up(each) for each in labels)
        blocks = tuple(int(each.max()) + 1 if each.size else 0 for each in compact)
        sums = tuple(self._part_sums(part, compact, blocks) for part in self.parts)
        return State(compact, blocks, sums, self.length(compact, blocks, sums))

    def one_block(self) -> State:
        """Every group in one block."""
        return self.state([np.zeros(size, np.int64) for size in self.sizes])

    def _part_sums(self, part: Part, labels: Labels, blocks: tuple[int, ...]) -> np.ndarray:
        column, row = part.column, part.row
        others = column.spread(labels[column.group])
        return block_sums(
            labels[row.group], row.sums(others, blocks[column.group]), blocks[row.group]
        )

    def moved(self, state: State, group: int, new: np.ndarray, sums: list[np.ndarray]) -> State:
        """The state after one group's labels changed, from unit sums of :meth:`unit_sums`."""
        sides = self.sides(group)
        if len({number for number, _ in sides}) < len(sides):  # a layer from a group to itself
            return self.state([new if g == group else old for g, old in enumerate(state.labels)])
        new = closed_up(new)
        blocks = list(state.blocks)
        blocks[group] = int(new.max()) + 1
        labels = tuple(new if g == group else old for g, old in enumerate(state.labels))
        parts = list(state.sums)
        for (number, of_rows), each in zip(sides, sums, strict=True):
            total = block_sums(new, each, blocks[group])
            parts[number] = total if of_rows else total.swapaxes(1, 2)
        bits = self.length(labels, tuple(blocks), tuple(parts))
        return State(labels, tuple(blocks), tuple(parts), bits)

    def unit_sums(self, state: State, group: int) -> list[np.ndarray]:
        """For each side of a group, its units' statistics towards the other's blocks."""
        found = []
        for number, of_rows in self.sides(group):
            other = self.parts[number].side(not of_rows)
            labels = other.spread(state.labels[other.group])
            side = self.parts[number].side(of_rows)
            found.append(side.sums(labels, state.blocks[other.group]))
        return found

    def length(
        self, labels: Labels, blocks: tuple[int, ...], sums: tuple[np.ndarray, ...]
    ) -> float:
        """Bits for labels and layers."""
        bits = sum(label_bits(each, count) for each, count in zip(labels, blocks, strict=True))
        return bits + sum(
            self.layer_bits(number, labels, blocks, inside) for number, inside in enumerate(sums)
        )

    def layer_bits(
        self, number: int, labels: Labels, blocks: tuple[int, ...], inside: np.ndarray
    ) -> float:
        """Bits for one layer, its labels given."""
        part = self.parts[number]
        pairs = block_pairs(part, labels, blocks)
        each = self.family.block_bits(inside, pairs, part.scale, part.positions)
        bits = float(each.sum()) + part.fixed_bits + self.joint_bits(part, blocks)
        return bits + _degree_bits(part, labels, blocks, inside[0], pairs)

    def joint_bits(self, part: Part, blocks: Sequence[int]) -> float:
        """Numbers of edges between all blocks, where they are told together."""
        if part.row.degrees is None:
            return 0.0
        pairs = blocks[part.row.group] * blocks[part.column.group]
        edges = _total(part)
        return float(log2_binomial(pairs + edges - 1, edges)) if pairs else 0.0


def _degree_bits(
    part: Part, labels: Labels, blocks: Sequence[int], edges: np.ndarray, pairs: np.ndarray
) -> float:
    """Bits for degrees, where the family pays for them."""
    bits, variations = 0.0, []
    for side in (part.row, part.column):
        if side.degrees is None:
            return 0.0
        histogram = side.degrees.histogram(side.spread(labels[side.group]), blocks[side.group])
        bits += float(side.degrees.bits(histogram).sum())
        variations.append(side.degrees.variation(histogram))
    return bits + correction(edges, pairs, *variations)


def _total(part: Part) -> float:
    first = part.row.statistics[0]
    return float(first.size if isinstance(first, np.ndarray) else first.nnz)


def closed_up(labels: np.ndarray) -> np.ndarray:
    """The same labels as 0, 1, 2, ... without gaps, in their order.

    >>> closed_up(np.array([5, 2, 5])).tolist()
    [1, 0, 1]
    """
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def label_bits(labels: np.ndarray, blocks: int) -> float:
    """Number of blocks, their sizes, and which units are in which (Peixoto 2017, eq. 6).

    >>> round(label_bits(np.array([0, 0, 1, 1]), 2), 3)  # log2 4 + log2 3 + log2 6
    6.17
    """
    if not labels.size:
        return 0.0
    counts = np.bincount(labels, minlength=blocks)
    ways = log2_factorial(labels.size) - log2_factorial(counts).sum()
    return float(header_bits(labels.size, blocks) + ways)


def header_bits(units: int, blocks: int) -> float:
    """How many blocks there are, and how large they are."""
    return float(np.log2(units) + log2_binomial(units - 1, blocks - 1)) if units else 0.0


def side_counts(part: Part, of_rows: bool, labels: Labels, blocks: Sequence[int]) -> np.ndarray:
    """Rows (or columns) of a layer in each block."""
    side = part.side(of_rows)
    return np.bincount(
        labels[side.group], weights=side.counts, minlength=blocks[side.group]
    ).astype(np.float64)


def block_pairs(part: Part, labels: Labels, blocks: Sequence[int]) -> np.ndarray:
    """Cells of each pair of blocks."""
    rows = side_counts(part, True, labels, blocks)
    return rows[:, None] * side_counts(part, False, labels, blocks)
