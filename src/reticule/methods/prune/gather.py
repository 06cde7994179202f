"""Units in an order in which blocks gather what is large, before blocks are pruned.

Neurons and channels may change places, if the rows that make them and the columns that read
them do so together.  Blocks of weights keep more of what matters where units that are alike lie
side by side.  For each set of units that can change places some orders are tried: by strength,
by the second singular vector of their weights (spectral seriation: Atkins, Boman, Hendrickson
1998), by the blocks of a block model of the magnitudes, and chains in which each strong unit is
followed by those most like it.  The one stays of which the best quarter of the blocks holds
most of the energy; if none is better, the order that was.

Source: ours; that permutations make pruned blocks better: Ji et al., "TETRIS", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reticule.forms import Packed, channels_of, operated
from reticule.forms.base import Shape
from reticule.graph.channels import Channels, reordered
from reticule.science.blocks import BlockModel

ROUNDS = 2
BEST = 0.25  # share of the blocks whose energy is compared
FEATURES = 4096  # of a unit, at most, for orders that compare all with all


def gathered(packed: Packed, sides: Mapping[str, Shape]) -> Packed:
    """The same network with its units in an order that suits blocks of these sides, by tensor."""
    channels = channels_of(packed)
    for _ in range(ROUNDS):
        changed = False
        for units in channels.classes:
            order = _best(packed, channels, units, sides)
            if not np.array_equal(order, np.arange(units.size)):
                packed = operated(packed, reordered(channels, [units[order]]))
                changed = True
        if not changed:
            break
    return packed


def _best(
    packed: Packed, channels: Channels, units: np.ndarray, sides: Mapping[str, Shape]
) -> np.ndarray:
    parts = list(_energies(packed, channels, units, sides))
    best = np.arange(units.size)
    if units.size < 3 or not parts:
        return best
    most = _kept(parts, best)
    for order in _orders(np.hstack([energy for energy, _ in parts]), parts[0][1]):
        kept = _kept(parts, order)
        if kept > most * (1 + 1e-9):
            best, most = order, kept
    return best


def _energies(
    packed: Packed, channels: Channels, units: np.ndarray, sides: Mapping[str, Shape]
) -> Iterator[tuple[np.ndarray, int]]:
    """For each tensor and axis along which the units lie, their squared weights, summed over
    pieces of the other axes as blocks are (units, pieces), and the side of a block here."""
    place = np.full(channels.count, -1)
    place[units] = np.arange(units.size)
    for (name, axis), lie in channels.tensors.items():
        mine = place[lie] >= 0
        if name not in sides or axis > 1 or mine.sum() != units.size:
            continue
        energy = np.square(packed.forms[name].dense(), dtype=np.float64)
        for other, side in enumerate(sides[name]):
            if other != axis:
                starts = np.arange(0, energy.shape[other], side)
                energy = np.add.reduceat(energy, starts, other)
        lines = np.moveaxis(energy, axis, 0).reshape(len(lie), -1)
        part = np.empty((units.size, lines.shape[1]))
        part[place[lie[mine]]] = lines[mine]
        yield part, sides[name][axis]


def _kept(parts: list[tuple[np.ndarray, int]], order: np.ndarray) -> float:
    """Energy in the best blocks, as a share of all, summed over parts."""
    total = 0.0
    for energy, side in parts:
        blocks = np.add.reduceat(energy[order], np.arange(0, order.size, side)).ravel()
        count = max(1, round(BEST * blocks.size))
        top = np.partition(blocks, blocks.size - count)[blocks.size - count :]
        total += float(top.sum()) / max(float(blocks.sum()), 1e-30)
    return total


def _orders(energy: np.ndarray, side: int) -> Iterator[np.ndarray]:
    strength = energy.sum(1)
    yield np.argsort(-strength, kind="stable")
    sizes = np.sqrt(energy[:, np.argsort(-energy.var(0), kind="stable")[:FEATURES]])
    centred = sizes - sizes.mean(0)
    vectors = np.linalg.eigh(centred @ centred.T).eigenvectors
    yield np.argsort(vectors[:, -1], kind="stable")
    yield _chain(centred, strength, side)
    labels = BlockModel("laplace", restarts=1).fit(sizes + 1e-12).row_labels_
    mean = np.bincount(labels, strength) / np.bincount(labels)
    yield np.lexsort((-strength, labels, -mean[labels]))


def _chain(profiles: np.ndarray, strength: np.ndarray, side: int) -> np.ndarray:
    """The strongest unit with the ``side`` - 1 most like it, then the strongest that is left."""
    alike = profiles @ profiles.T
    free = np.ones(strength.size, bool)
    order: list[int] = []
    while free.any():
        left = np.flatnonzero(free)
        head = left[np.argmax(strength[left])]
        rest = left[left != head]
        nearest = rest[np.argsort(-alike[head, rest], kind="stable")[: max(side, 1) - 1]]
        order += [int(head), *nearest.tolist()]
        free[order] = False
    return np.array(order)
