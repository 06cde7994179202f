"""Block models of one layer or of several that share units: ``fit``, then ``row_labels_``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.science.blocks.families import FAMILIES, Family
from reticule.science.blocks.parts import part_of
from reticule.science.blocks.problem import Problem
from reticule.science.blocks.result import Estimator, Partitioned, ordered
from reticule.science.blocks.search import search
from reticule.science.graphs import NetworkGraph

Blocks = str | int | tuple[int, int]


class BlockModel(Partitioned):
    """A stochastic block model of a matrix, found by its description length.

    ``family`` is one of bernoulli, degree-corrected, normal, normal-variance and laplace.
    ``blocks`` is "auto", or the most blocks of rows and of columns (a number, or one for each):
    fewer are used where more do not pay, so that the description is never longer than that of
    one block.  ``restarts`` searches begin in turn from spectra, normalised spectra, degrees
    and an agglomeration; the same ``seed`` gives the same answer.

    >>> mask = np.kron(np.array([[1, 0], [0, 1]]), np.ones((12, 20)))
    >>> model = BlockModel().fit(mask)
    >>> model.n_blocks_, model.row_labels_[[0, 11, 12, 23]].tolist()
    ((2, 2), [0, 0, 1, 1])
    >>> model.description_length_ < model.one_block_length_
    True
    """

    def __init__(
        self,
        family: str = "bernoulli",
        blocks: Blocks = "auto",
        restarts: int = 4,
        seed: int = 0,
    ) -> None:
        self.family, self.blocks, self.restarts, self.seed = family, blocks, restarts, seed

    def fit(self, matrix: Any, y: Any = None) -> BlockModel:
        """Find the blocks of a matrix (rows, columns), dense or scipy.sparse.

        In a sparse matrix the stored entries are the edges, zero or not; in a dense one those
        that are not zero.  Weights of a dense matrix without zeros are taken as they are, and
        no positions are paid for.  ``y`` is ignored.  Raises ReticuleError for what is not a
        matrix of finite numbers, and for settings that do not exist.
        """
        family = family_called(self.family)
        problem = one_layer(matrix, family)
        most = most_blocks(self.blocks, problem.sizes)
        state = search(problem, most, at_least_one(self.restarts), self.seed)
        self._keep(problem, ordered(problem, state))
        return self


class CoupledBlockModel(Estimator):
    """One partition of the units of a whole network, shared by all layers that touch them.

    Labels of a group of units are paid for once, and found from the layers on both of its sides.
    Settings as for :class:`BlockModel`; ``blocks`` limits every group.  After ``fit``:
    ``labels_`` (by group), ``n_blocks_`` (by group), ``description_length_`` and
    ``one_block_length_`` in bits, and ``layer_lengths_``: bits of each layer without labels.
    """

    labels_: Mapping[str, np.ndarray]
    n_blocks_: Mapping[str, int]
    description_length_: float
    one_block_length_: float
    layer_lengths_: Mapping[str, float]

    def __init__(
        self,
        family: str = "bernoulli",
        blocks: str | int = "auto",
        restarts: int = 4,
        seed: int = 0,
    ) -> None:
        self.family, self.blocks, self.restarts, self.seed = family, blocks, restarts, seed

    def fit(self, network: NetworkGraph, y: Any = None) -> CoupledBlockModel:
        """Find the blocks of all groups of units; raises ReticuleError as BlockModel does."""
        names = tuple(network.groups)
        problem = coupled(network, family_called(self.family))
        most = most_blocks(self.blocks, problem.sizes)
        state = search(problem, most, at_least_one(self.restarts), self.seed)
        state = ordered(problem, state)
        self.labels_ = dict(zip(names, state.labels, strict=True))
        self.n_blocks_ = dict(zip(names, state.blocks, strict=True))
        self.description_length_ = state.bits
        self.one_block_length_ = problem.one_block().bits
        self.layer_lengths_ = {
            layer.name: problem.layer_bits(number, state.labels, state.blocks, state.sums[number])
            for number, layer in enumerate(network.layers)
        }
        return self


def description_length(
    matrix: Any, row_labels: Any, column_labels: Any, family: str = "bernoulli"
) -> float:
    """Bits to describe a matrix and the labels of its rows and columns, whoever found them.

    >>> mask = np.eye(4)
    >>> one = description_length(mask, np.zeros(4), np.zeros(4))
    >>> round(one, 2)  # log2 4 twice for the numbers of blocks, log2 17 + log2 C(16, 4)
    18.92
    """
    problem = one_layer(matrix, family_called(family))
    labels = [np.unique(np.asarray(x), return_inverse=True)[1] for x in (row_labels, column_labels)]
    for name, each, size in zip(("rows", "columns"), labels, problem.sizes, strict=True):
        if each.shape != (size,):
            raise ReticuleError(f"{each.size} labels do not fit the {size} {name} of the matrix")
    return problem.state(labels).bits


def one_layer(matrix: Any, family: Family) -> Problem:
    """A single matrix as a problem of two groups."""
    part = part_of(matrix, family)
    sizes = (part.row.rows, part.column.rows)
    if 0 in sizes:
        raise ReticuleError("a block model needs at least one row and one column")
    return Problem(family, (part,), sizes)


def coupled(network: NetworkGraph, family: Family) -> Problem:
    """A network's layers as a problem of as many groups as it has."""
    number = {name: i for i, name in enumerate(network.groups)}
    sizes = tuple(network.groups.values())
    parts = tuple(
        part_of(
            layer.matrix,
            family,
            (number[layer.rows], number[layer.columns]),
            (layer.row_units, layer.column_units),
            (network.groups[layer.rows], network.groups[layer.columns]),
        )
        for layer in network.layers
    )
    if not parts:
        raise ReticuleError("a coupled block model needs at least one layer")
    return Problem(family, parts, sizes)


def family_called(name: str) -> Family:
    """A family by its name; raises ReticuleError listing them."""
    if name not in FAMILIES:
        raise ReticuleError(f"there is no family '{name}' of blocks; take {', '.join(FAMILIES)}")
    return FAMILIES[name]


def most_blocks(blocks: Any, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Limits for every group, at most its size; None where they are to be found."""
    if isinstance(blocks, str) and blocks == "auto":
        return None
    wanted = blocks if isinstance(blocks, tuple | list) else (blocks,) * len(sizes)
    fine = all(isinstance(x, int | np.integer) and x >= 1 for x in wanted)
    if not fine or len(wanted) != len(sizes):
        raise ReticuleError(
            f"blocks={blocks!r}: give 'auto', a positive number, or one for each side"
        )
    return tuple(min(int(x), size) for x, size in zip(wanted, sizes, strict=True))


def at_least_one(restarts: Any) -> int:
    if not isinstance(restarts, int | np.integer) or restarts < 1:
        raise ReticuleError(f"restarts={restarts!r}: give a positive number")
    return int(restarts)
