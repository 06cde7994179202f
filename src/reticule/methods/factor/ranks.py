"""Ranks of factored layers: what they cost, and which ones a layer gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import numpy as np

from reticule.errors import RecipeError
from reticule.forms import Dense, Factored, Form, Packed
from reticule.methods.select import select

Pair = tuple[int, int]
RATIO = 0.25
FLOOR = 10


def plain(shape: Sequence[int]) -> bool:
    """Whether a layer is one matrix: linear, or a convolution by 1 x 1."""
    return prod(shape[2:]) == 1


def numbers(shape: Sequence[int], ranks: Pair, folded: bool = True) -> int:
    """How many numbers a layer takes in factors.

    Of a matrix two factors do, if the core is ``folded`` into one of them; of kernels, two
    where the second rank is that of all inputs.

    >>> numbers((300, 784), (30, 30)), numbers((16, 8, 3, 3), (4, 4))
    (32520, 240)
    """
    (outputs, inputs, *kernel), (left, right) = shape, ranks
    if folded and plain(shape):
        return min(ranks) * (outputs + inputs)
    core = outputs * left + left * right * prod(kernel)
    return core if folded and right == inputs else core + inputs * right


@dataclass(frozen=True)
class Ranks:
    """What a recipe asks for: one of a rank, a share of the energy, a share of the numbers.

    Shares give no rank below ``floor``, or the units that there are: through a rank of two, ten
    classes cannot be told apart.
    """

    rank: int | Mapping[str, int] | None = None
    energy: float | None = None
    ratio: float | None = None
    floor: int = FLOOR

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.rank, self.energy, self.ratio)) > 1:
            raise ValueError("give one of rank, energy and ratio: each says how large factors are")

    def of(self, names: Sequence[str], weights: np.ndarray) -> Pair | None:
        """Ranks of rows and columns of a layer with these names; None if ``rank`` lacks it."""
        sides = weights.shape[0], weights.shape[1]
        if self.rank is None:
            left, right = by_ratio(weights.shape, self.ratio or RATIO)
            if self.energy is not None:
                left, right = (self._by_energy(weights, axis) for axis in (0, 1))
            return min(max(left, self.floor), sides[0]), min(max(right, self.floor), sides[1])
        if isinstance(self.rank, int):
            return min(self.rank, sides[0]), min(self.rank, sides[1])
        for pattern, rank in self.rank.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return min(rank, sides[0]), min(rank, sides[1])
        return None

    def check(self, known: Sequence[str], method: str) -> None:
        """RecipeError for a pattern of ``rank`` that fits no layer."""
        for pattern in self.rank if isinstance(self.rank, Mapping) else ():
            if not any(fnmatchcase(name, pattern) for name in known):
                raise RecipeError(f"{method}: no layer '{pattern}' to factor; {', '.join(known)}")

    def _by_energy(self, weights: np.ndarray, axis: int) -> int:
        """Singular values, the largest first, until they have so much of the sum of squares."""
        unfolded = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
        energy = np.cumsum(np.square(np.linalg.svd(unfolded, compute_uv=False)))
        wanted = (self.energy or 0) * energy[-1] * (1 - 1e-12)
        return int(min(np.searchsorted(energy, wanted) + 1, len(energy)))


def by_ratio(shape: Sequence[int], ratio: float) -> Pair:
    """The largest ranks, in proportion to both sides, of at most so many of the numbers.

    At least 1, whatever that takes.

    >>> by_ratio((300, 784), 0.25), by_ratio((16, 16, 3, 3), 0.25)
    ((54, 54), (6, 6))
    """
    outputs, inputs = shape[:2]
    most = ratio * prod(shape)
    if plain(shape):
        rank = max(1, min(int(most // (outputs + inputs)), outputs, inputs))
        return rank, rank
    steps = max(outputs, inputs)
    for step in range(steps, 0, -1):
        ranks = max(1, step * outputs // steps), max(1, step * inputs // steps)
        if numbers(shape, ranks) <= most:
            return ranks
    return 1, 1


def layers(
    packed: Packed, skip: Sequence[str], smallest: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Dense weights that can be factored, with the name of their layer; others with the reason."""
    names, skipped = select(packed, skip=skip, smallest=smallest, accept=_dense)
    nodes = {name: node for node, name in packed.graph.weights()}
    found = {}
    for name in names:
        groups = nodes[name].settings.get("group", 1) if nodes[name].op == "Conv" else 1
        if groups != 1:
            skipped[name] = f"a convolution with {groups} groups, whose channels are few already"
        else:
            found[name] = nodes[name].name
    return found, skipped


def _dense(form: Form) -> str:
    return "" if isinstance(form, Dense) else f"already in the form {form.name}"


def folded(left: np.ndarray, core: np.ndarray, right: np.ndarray) -> Factored:
    """The form of X C Y^T, with factors of like size: two where that is the same.

    Of a matrix the core is divided between both factors by its singular values.
    """
    (inputs, width), kernel = right.shape, core.shape[2:]
    if plain((len(left), inputs, *kernel)):
        u, values, v = np.linalg.svd(core.reshape(core.shape[:2]), full_matrices=False)
        rows, core = left @ (u * np.sqrt(values)), (np.sqrt(values)[:, None] * v) @ right.T
        return Factored(_full(rows), _full(core.reshape(len(core), inputs, *kernel)))
    if width == inputs:  # an orthonormal basis of everything
        core = np.einsum("ab...,ib->ai...", core, right)
        return two(left, core)
    return three(left, core, right)


def two(rows: np.ndarray, core: np.ndarray) -> Factored:
    """The form of two factors, scaled to numbers of like size."""
    gain = np.sqrt(_size(core) / _size(rows))
    return Factored(_full(rows * gain), _full(core / gain))


def three(rows: np.ndarray, core: np.ndarray, columns: np.ndarray) -> Factored:
    """The form of three factors, scaled to numbers of like size."""
    sizes = [_size(rows), _size(core), _size(columns)]
    goal = prod(sizes) ** (1 / 3)
    scaled = [part * (goal / size) for part, size in zip((rows, core, columns), sizes, strict=True)]
    return Factored(*map(_full, scaled))


def _size(values: np.ndarray) -> float:
    """Root mean square; 1 of nothing."""
    return float(np.sqrt(np.square(values).mean())) or 1.0 if values.size else 1.0


def _full(values: np.ndarray) -> Dense:
    return Dense(np.ascontiguousarray(values, np.float32))


def error(form: Form, weights: np.ndarray) -> float:
    """Relative error of a form in the Frobenius norm."""
    left = float(np.linalg.norm(form.dense().astype(np.float64) - weights))
    return left / (float(np.linalg.norm(weights)) or 1.0)
