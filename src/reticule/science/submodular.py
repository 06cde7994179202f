"""Choosing a few of many: set functions, and the greedy algorithms that maximise them.

An objective is a set function that grows with every item: it tells what an item would add to
what has been taken so far.  Greedy selection takes the best again and again.  If gains only
shrink as more is taken (submodularity), it reaches 1 - 1/e of the best value there is (Nemhauser,
Wolsey & Fisher 1978), and *lazy* evaluation gives the same answer in a fraction of the time
(Minoux 1978).  *Stochastic* greedy looks at a random part of the items at each step (Mirzasoleiman
et al., "Lazier than lazy greedy", AAAI 2015).

>>> import numpy as np
>>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
>>> similarity = np.exp(-np.abs(points - points.T))
>>> [int(i) for i in maximise(FacilityLocation(similarity), 2)]
[2, 0]
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from reticule.errors import ReticuleError

How = Literal["plain", "lazy", "stochastic"]
EPSILON = 0.05  # of stochastic greedy: what it may lose in expectation
_TINY = 1e-12


class Objective(Protocol):
    """A monotone set function over the items 0 ... size - 1, empty at first."""

    size: int

    def gains(self, items: np.ndarray) -> np.ndarray:
        """What each of these items would add now."""

    def add(self, item: int) -> None:
        """Take an item."""


class FacilityLocation:
    """Sum over all i of max over the taken j of ``similarity[i, j]`` (n x n, none negative)."""

    def __init__(self, similarity: np.ndarray) -> None:
        self.similarity = np.asarray(similarity, np.float64)
        if self.similarity.ndim != 2 or (self.similarity < 0).any():
            raise ReticuleError("facility location takes a matrix of similarities, none negative")
        self.size = self.similarity.shape[1]
        self.nearest = np.zeros(self.similarity.shape[0])

    def gains(self, items: np.ndarray) -> np.ndarray:
        better = np.maximum(self.similarity[:, items] - self.nearest[:, None], 0)
        return np.asarray(better.sum(0))

    def add(self, item: int) -> None:
        self.nearest = np.maximum(self.nearest, self.similarity[:, item])


class LogDeterminant:
    """log det of the kernel's rows and columns that are taken: how diverse they are.

    Greedy maximisation is the most probable set of a determinantal point process, nearly; by
    an incremental Cholesky factor (Chen, Zhang & Zhou, NeurIPS 2018).  The logarithm may fall;
    gains are measured from the least one possible, so that they order items alike.
    """

    def __init__(self, kernel: np.ndarray) -> None:
        self.kernel = np.asarray(kernel, np.float64)
        self.size = self.kernel.shape[0]
        self._rest = np.maximum(self.kernel.diagonal().copy(), _TINY)
        self._rows = np.zeros((0, self.size))

    def gains(self, items: np.ndarray) -> np.ndarray:
        return np.log(self._rest[items] / _TINY)

    def add(self, item: int) -> None:
        row = (self.kernel[item] - self._rows[:, item] @ self._rows) / np.sqrt(self._rest[item])
        self._rows = np.vstack([self._rows, row])
        self._rest = np.maximum(self._rest - row**2, _TINY)


class Reconstruction:
    """How much of the layers' outputs the inputs of the taken units can restore.

    For a layer that reads inputs b and should put out t, with H = E[b b^T] and C = E[b t^T],

        F(S) = tr(C_S^T H_SS^-1 C_S)

    is what least squares explains of E|t|^2 from the inputs of the units in S: the reweighted
    reconstruction of El Halabi, Srinivas and Lacoste-Julien (NeurIPS 2022, section 3).  Several
    layers may read the same units; each counts by ``weight``.  ``units`` names the unit of
    each input, -1 for inputs that are always there.  Taking a unit replaces H and C by what
    is left of them (Schur complements, block Gram-Schmidt), so that a gain is

        tr(C_i^T H_ii^-1 C_i)

    whatever has been taken.  ``ridge``, in mean diagonals of H, keeps that stable.
    """

    def __init__(self, size: int, ridge: float = 1e-4) -> None:
        self.size, self.ridge = size, ridge
        self._layers: list[_Reader] = []

    def layer(
        self, square: np.ndarray, cross: np.ndarray, units: np.ndarray, weight: float = 1.0
    ) -> None:
        """Add a layer: H (n, n), C (n, outputs), and the unit of each of the n inputs."""
        square = np.array(square, np.float64)
        square += (self.ridge * square.diagonal().mean() + _TINY) * np.eye(len(square))
        reader = _Reader(square, np.array(cross, np.float64), np.asarray(units), weight)
        reader.take(np.flatnonzero(reader.units < 0))
        self._layers.append(reader)

    def gains(self, items: np.ndarray) -> np.ndarray:
        total = np.zeros(len(items))
        for reader in self._layers:
            total += reader.weight * reader.gains(items)
        return total

    def joint(self, items: np.ndarray) -> float:
        """What these items would add together: F of them, where nothing has been taken."""
        return sum(reader.weight * reader.joint(items) for reader in self._layers)

    def add(self, item: int) -> None:
        for reader in self._layers:
            reader.take(np.flatnonzero(reader.units == item))


class _Reader:
    """A layer: what is left of its H and C when the inputs of taken units are explained away."""

    def __init__(
        self, square: np.ndarray, cross: np.ndarray, units: np.ndarray, weight: float
    ) -> None:
        self.square, self.cross, self.units, self.weight = square, cross, units, weight
        self._least = 1e-9 * float(square.diagonal().mean())
        self._own = {
            unit: np.flatnonzero(units == unit) for unit in np.unique(units[units >= 0]).tolist()
        }

    def gains(self, items: np.ndarray) -> np.ndarray:
        found = np.zeros(len(items))
        sizes = np.array([self._own.get(int(i), np.zeros(0)).size for i in items])
        for size in np.unique(sizes[sizes > 0]).tolist():
            which = np.flatnonzero(sizes == size)
            own = np.array([self._own[int(items[i])] for i in which])
            square = self.square[own[:, :, None], own[:, None, :]]
            square = square + self._least * np.eye(size)
            cross = self.cross[own]
            found[which] = (cross * np.linalg.solve(square, cross)).sum((1, 2))
        return found

    def joint(self, items: np.ndarray) -> float:
        own = np.flatnonzero(np.isin(self.units, items))
        if not own.size:
            return 0.0
        square = self.square[np.ix_(own, own)] + self._least * np.eye(own.size)
        return float((self.cross[own] * np.linalg.solve(square, self.cross[own])).sum())

    def take(self, own: np.ndarray) -> None:
        if not own.size:
            return
        square = self.square[np.ix_(own, own)] + self._least * np.eye(own.size)
        lines = self.square[:, own]
        solved = np.linalg.solve(square, np.hstack([lines.T, self.cross[own]]))
        self.square -= lines @ solved[:, : len(lines)]
        self.cross -= lines @ solved[:, len(lines) :]


def maximise(
    objective: Objective,
    count: int,
    how: How = "plain",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The items that greedy selection takes, in its order (count,).

    "lazy" gives the answer of "plain" where the objective is submodular, in less time;
    "stochastic" looks at (n / count) log(1 / epsilon) random items a step.  Raises ReticuleError
    for more items than there are.
    """
    if not 0 <= count <= objective.size:
        raise ReticuleError(f"cannot take {count} of {objective.size}")
    if how == "lazy":
        return _lazy(objective, count)
    rng = rng or np.random.default_rng(0)
    left = np.arange(objective.size)
    sample = objective.size
    if how == "stochastic":
        sample = int(np.ceil(objective.size / max(count, 1) * np.log(1 / EPSILON)))
    taken: list[int] = []
    for _ in range(count):
        looked = left
        if sample < left.size:
            looked = np.sort(rng.choice(left, sample, replace=False))
        best = int(looked[np.argmax(objective.gains(looked))])
        objective.add(best)
        taken.append(best)
        left = left[left != best]
    return np.array(taken, np.int64)


def _lazy(objective: Objective, count: int) -> np.ndarray:
    """A heap of upper bounds: what an item added when it was last looked at."""
    items = np.arange(objective.size)
    bounds = [(-gain, int(i)) for gain, i in zip(objective.gains(items), items, strict=True)]
    heapq.heapify(bounds)
    taken: list[int] = []
    while len(taken) < count:
        _, item = heapq.heappop(bounds)
        gain = float(objective.gains(np.array([item]))[0])
        if not bounds or (-gain, item) <= bounds[0]:
            objective.add(item)
            taken.append(item)
        else:
            heapq.heappush(bounds, (-gain, item))
    return np.array(taken, np.int64)


def sample_k_dpp(kernel: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Items (count,) drawn with a probability proportional to det of their kernel.

    Kulesza & Taskar, "k-DPPs: fixed-size determinantal point processes", ICML 2011: first
    eigenvectors by elementary symmetric polynomials (in logarithms), then items one by one.
    """
    values, vectors = np.linalg.eigh(np.asarray(kernel, np.float64))
    size = values.size
    if not 0 <= count <= size:
        raise ReticuleError(f"cannot draw {count} of {size}")
    logs = np.log(np.maximum(values, values.max(initial=_TINY) * _TINY))
    table = np.full((count + 1, size + 1), -np.inf)  # log e_k of the first n values
    table[0] = 0.0
    for n in range(1, size + 1):
        table[1:, n] = np.logaddexp(table[1:, n - 1], logs[n - 1] + table[:-1, n - 1])
    chosen, need = [], count
    for n in range(size, 0, -1):
        if not need:
            break
        if np.log(rng.random()) < logs[n - 1] + table[need - 1, n - 1] - table[need, n]:
            chosen.append(n - 1)
            need -= 1
    basis = vectors[:, chosen]
    taken: list[int] = []
    while basis.shape[1]:
        chance = (basis**2).sum(1)
        chance[taken] = 0
        item = int(rng.choice(size, p=chance / chance.sum()))
        taken.append(item)
        pivot = int(np.argmax(np.abs(basis[item])))
        column = basis[:, pivot]
        basis = np.delete(basis - np.outer(column, basis[item] / column[item]), pivot, axis=1)
        basis, _ = np.linalg.qr(basis) if basis.shape[1] else (basis, None)
    return np.array(sorted(taken), np.int64)


def violations(
    value: Objective, items: Sequence[int], more: Sequence[int], item: int
) -> tuple[float, float]:
    """What an item adds to ``items``, and to ``items`` and ``more``: of a fresh objective.

    Submodular means that the first is never the smaller one.
    """
    for each in items:
        value.add(int(each))
    first = float(value.gains(np.array([item]))[0])
    for each in more:
        value.add(int(each))
    return first, float(value.gains(np.array([item]))[0])
