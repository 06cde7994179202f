"""What a partition of rows and columns looks like once it is found, whoever found it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from reticule.errors import ReticuleError
from reticule.science.blocks.problem import Problem, State, block_pairs


class Estimator:
    """Settings as scikit-learn reads and writes them: the arguments of ``__init__``."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **settings: Any) -> Any:
        """Change settings; raises ReticuleError for one that does not exist."""
        for name, value in settings.items():
            if name not in self.get_params():
                raise ReticuleError(f"{type(self).__name__} has no setting '{name}'")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({settings})"


class Partitioned(Estimator):
    """Rows and columns of a matrix in blocks.

    ``row_labels_`` (rows,), ``column_labels_`` (columns,), ``n_blocks_`` (of rows, of columns),
    ``description_length_`` and ``one_block_length_`` in bits, and ``densities_``, the share of
    stored entries of each block.  Blocks are numbered from the largest to the smallest.
    """

    row_labels_: np.ndarray
    column_labels_: np.ndarray
    n_blocks_: tuple[int, int]
    description_length_: float
    one_block_length_: float
    densities_: np.ndarray

    @property
    def labels_(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the rows and of the columns."""
        return self.row_labels_, self.column_labels_

    @property
    def gain_(self) -> float:
        """Bits that the blocks save against one block."""
        return self.one_block_length_ - self.description_length_

    def orders(self) -> tuple[np.ndarray, np.ndarray]:
        """Permutations of rows and columns that put the blocks side by side."""
        return (
            np.argsort(self.row_labels_, kind="stable"),
            np.argsort(self.column_labels_, kind="stable"),
        )

    def _keep(self, problem: Problem, state: State) -> None:
        self.row_labels_, self.column_labels_ = state.labels
        self.n_blocks_ = (state.blocks[0], state.blocks[1])
        self.description_length_ = state.bits
        self.one_block_length_ = problem.one_block().bits
        pairs = block_pairs(problem.parts[0], state.labels, state.blocks)
        self.densities_ = state.sums[0][0] / np.maximum(pairs, 1)


def ordered(problem: Problem, state: State) -> State:
    """The same blocks from the largest to the smallest; of equals, the first unit decides."""
    labels = []
    for each in state.labels:
        _, first, inverse, counts = np.unique(
            each, return_index=True, return_inverse=True, return_counts=True
        )
        rank = np.empty(counts.size, np.int64)
        rank[np.lexsort((first, -counts))] = np.arange(counts.size)
        labels.append(rank[inverse])
    return problem.state(labels)
